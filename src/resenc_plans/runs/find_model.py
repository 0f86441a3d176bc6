"""The trained models in a dataset's folder of results."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import DatasetError


@dataclass(frozen=True)
class TrainedModel:
    """A folder `TRAINER__PLANS__CONFIGURATION` with plans.json, dataset.json and folds."""

    folder: Path

    @property
    def identifier(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def trainer(self) -> str:
        """The trainer that nnU-Net would use for it."""
        return self.identifier.split("__")[0]

    @property
    def plans(self) -> str:
        """The name of its plans."""
        return self.identifier.split("__")[1]

    @property
    def configuration(self) -> str:
        """The name of its configuration."""
        return self.identifier.split("__")[2]

    def folds(self) -> tuple[str, ...]:
        """Its folds, numbers first, such as ("0", "1", "all")."""
        names = [path.name[5:] for path in self.folder.glob("fold_*") if path.is_dir()]
        return tuple(sorted(names, key=lambda name: (not name.isdigit(), name.zfill(6))))


def find_trained_models(
    dataset_results: Path,
    *,
    trainers: Collection[str] = (),
    plans: Collection[str] = (),
    configurations: Collection[str] = (),
) -> tuple[TrainedModel, ...]:
    """The models of a dataset, by name; each collection that is not empty restricts them.

    Raises
    ------
    DatasetError
        There is no such folder, or no model that fits; the message lists what there is.
    """
    if not dataset_results.is_dir():
        raise DatasetError(f"{dataset_results}: no such folder, so nothing was trained.")
    models = [
        TrainedModel(path)
        for path in sorted(dataset_results.iterdir())
        if path.name.count("__") == 2 and (path / "plans.json").is_file()
    ]
    fitting = tuple(
        model
        for model in models
        if (not trainers or model.trainer in trainers)
        and (not plans or model.plans in plans)
        and (not configurations or model.configuration in configurations)
    )
    if not fitting:
        there = ", ".join(model.identifier for model in models) or "none"
        raise DatasetError(f"{dataset_results}: no trained model fits. There is: {there}.")
    return fitting
