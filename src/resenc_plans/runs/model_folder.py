"""The folder of a trained model, as nnU-Net lays it out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError
from resenc_plans.files import inside, part_of_path, read_json
from resenc_plans.folders import (
    NEXT_STAGE,
    PLANS_JSON,
    TRAINER_NAME,
    VALIDATION,
    results_folder,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.runs.run_folder import RunFolder

MODEL_JSON = "model.json"
"""Beside the folds of a model whose folder is not named after it, as in a study."""

_FOLD = "fold_"
_CROSS_VALIDATION = "crossval_results_folds_"


@dataclass(frozen=True)
class ModelFolder(os.PathLike[str]):
    """A folder `TRAINER__PLANS__CONFIGURATION` with plans.json, dataset.json and folds.

    It may be passed wherever the path of a model's folder is expected.
    """

    folder: Path

    @classmethod
    def of(
        cls,
        config: ResolvedConfiguration,
        dataset: Dataset,
        configuration: str,
        name: str | None = None,
    ) -> Self:
        """Where a configuration of these plans is trained to.

        It is `<results>/<dataset>/<name>__<plans>__<configuration>`, by default with the name
        nnUNetTrainer. Where nnUNet_results is not set, results lie in a folder of that name beside
        the plans.

        Raises
        ------
        FileError
            One of the names is not that of a folder, or the folder lies elsewhere, behind a
            symbolic link; that of the dataset's results may be one.
        """
        results = results_folder(preprocessed=config.plans.folder)
        dataset_name = config.plans.dataset_name or dataset.name
        parts = (
            _checked_name(TRAINER_NAME if name is None else name),
            part_of_path(config.plans.name, "plans_name"),
            part_of_path(configuration, "configuration"),
        )
        folder = results / part_of_path(dataset_name, "dataset_name")
        return cls(inside(folder, folder / part_of_path("__".join(parts), "model")))

    def __fspath__(self) -> str:
        """The folder, as text."""
        return os.fspath(self.folder)

    @property
    def identifier(self) -> str:
        """The folder's name, or where that is another, what its model.json says."""
        path = self.folder / MODEL_JSON
        if _is_identifier(self.folder.name) or not path.is_file():
            return self.folder.name
        document = read_json(path)
        identifier = document.get("identifier") if isinstance(document, dict) else None
        if not isinstance(identifier, str) or not _is_identifier(identifier):
            raise FileError(f"{path}: does not say which model this is: TRAINER__PLANS__CONFIG.")
        return part_of_path(identifier, "identifier")

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

    @property
    def plans_json(self) -> Path:
        """The file of its plans."""
        return self.folder / PLANS_JSON

    def run(self, fold: int | str) -> RunFolder:
        """The folder of a fold."""
        return RunFolder(self.folder, fold)

    def folds(self) -> tuple[str, ...]:
        """Its folds, numbers first, such as ("0", "1", "all")."""
        names = [
            path.name.removeprefix(_FOLD) for path in self.folder.glob(f"{_FOLD}*") if path.is_dir()
        ]
        return tuple(sorted(names, key=lambda name: (not name.isdigit(), name.zfill(6))))

    def cross_validation(self, folds: Sequence[str]) -> Path:
        """The folder of the validation predictions of some folds, collected."""
        return self.folder / part_of_path(f"{_CROSS_VALIDATION}{'_'.join(folds)}", "folds")

    def next_stage(self, configuration: str) -> Path:
        """The folder of the predictions that `configuration` takes as input, in a cascade."""
        return self.folder / NEXT_STAGE / part_of_path(configuration, "configuration")


def _checked_name(name: str) -> str:
    if "__" in name or name.endswith("_"):
        raise FileError(
            f"`name=` {name!r}: two underscores in a row, or one at the end, cannot be told from "
            "those that separate name, plans and configuration. Choose another name."
        )
    return part_of_path(name, "`name=`")


def run_of(path: Path) -> RunFolder | None:
    """The fold whose folder a path is, or lies in; None where it lies in none.

    >>> run_of(Path("/A__B__C/fold_1/validation/summary.json"))
    RunFolder(model=PosixPath('/A__B__C'), fold='1')
    """
    path = path.absolute()
    for one in (path, *path.parents):
        if one.name.startswith(_FOLD) and one.parent.name.count("__") == 2:
            return RunFolder(one.parent, one.name.removeprefix(_FOLD))
    return None


def fold_of_validation(path: Path) -> str | None:
    """The fold whose held-out cases a folder has predictions of; None where it is no validation.

    >>> fold_of_validation(Path("runs/m/seed_0/fold_1/validation"))
    '1'
    """
    fold = path.absolute().parent.name
    is_validation = path.name == VALIDATION and fold.startswith(_FOLD)
    return fold.removeprefix(_FOLD) if is_validation else None


def folds_of_cross_validation(path: Path) -> tuple[str, ...]:
    """The folds whose validations a folder has collected; none where it is no such folder.

    >>> folds_of_cross_validation(Path("A__B__C/crossval_results_folds_0_1"))
    ('0', '1')
    """
    name = path.absolute().name
    is_collected = name.startswith(_CROSS_VALIDATION)
    return tuple(name.removeprefix(_CROSS_VALIDATION).split("_")) if is_collected else ()


def is_model_folder(path: Path) -> bool:
    """Whether a folder has a model's name, or a model.json with one, and plans."""
    is_named = _is_identifier(path.name) or (path / MODEL_JSON).is_file()
    return is_named and (path / PLANS_JSON).is_file()


def _is_identifier(name: str) -> bool:
    return name.count("__") == 2
