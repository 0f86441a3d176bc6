"""A trained model as nnU-Net lays it out: plans, dataset.json and a checkpoint per fold."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError
from resenc_plans.folders import DATASET_JSON
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import Checkpoint, load_checkpoint, load_weights

PLANS_JSON = "plans.json"
FINAL_CHECKPOINT = "checkpoint_final.pth"

Fold = int | str
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelFolder:
    """What prediction needs of a trained model."""

    folder: Path
    plan: Plans
    config: ResolvedConfiguration
    dataset: DatasetJson
    labels: Labels
    mirror_axes: tuple[int, ...]
    """Axes of the patch that training mirrored, so that prediction may average over them."""
    weights: Mapping[str, Weights]
    """A state dict for each fold, on the host, by the checkpoint's path."""

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        folds: Sequence[Fold] | Fold | None = None,
        checkpoint: str = FINAL_CHECKPOINT,
    ) -> Self:
        """Read a model folder of nnU-Net 2 or of ours, such as nnUNetTrainer__nnUNetPlans__2d.

        Parameters
        ----------
        folder
            It holds plans.json, dataset.json and fold_0, fold_1, ... or fold_all.
        folds
            Which folds to average; None takes all that have the checkpoint, fold_all only where
            there is no other.
        checkpoint
            The name of the file in each fold's folder.

        Raises
        ------
        FileError
            A folder or a file is missing or damaged, or a checkpoint names functions to be called.
        PlansError, DatasetError
            Plans or dataset.json are not usable.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder. A trained model was expected there.")
        for name in (PLANS_JSON, DATASET_JSON):
            if not (folder / name).is_file():
                raise FileError(
                    f"{folder}: has no {name}, so it is not the folder of a trained model. "
                    "It is named like nnUNetTrainer__nnUNetPlans__3d_fullres."
                )
        plan = Plans.load(folder / PLANS_JSON)
        dataset = DatasetJson.load(folder / DATASET_JSON)
        if isinstance(folds, int | str):
            folds = (folds,)
        paths = _checkpoints(folder, folds, checkpoint)
        first, *others = paths
        opened = load_checkpoint(first)
        weights = {str(first): opened.network_weights}
        for path in others:
            weights[str(path)] = load_checkpoint(path).network_weights
        return cls(
            folder=folder,
            plan=plan,
            config=plan.resolve(_configuration_name(opened, first)),
            dataset=dataset,
            labels=Labels.from_dataset(dataset),
            mirror_axes=opened.inference_allowed_mirroring_axes or (),
            weights=weights,
        )

    @property
    def input_channels(self) -> int:
        """Channels of the image and, in a cascade's second stage, one per foreground label."""
        extra = len(self.labels.foreground_labels) if self.config.previous_stage else 0
        return len(self.dataset.channels) + extra

    def network(self, source: str, allow_import: Collection[str] = ()) -> nn.Module:
        """The network with the weights of the checkpoint `source`, ready to predict.

        Raises
        ------
        ConfigurationError
            The network is unknown (see `build_network`).
        FileError
            The weights are another architecture's.
        """
        network = build_network(
            self.config,
            self.input_channels,
            self.labels.num_heads,
            deep_supervision=False,
            allow_import=allow_import,
        )
        load_weights(network, self.weights[source], source)
        return network.eval()


def _checkpoints(folder: Path, folds: Sequence[Fold] | None, checkpoint: str) -> list[Path]:
    if folds is None:
        found = sorted(
            path
            for path in folder.glob("fold_*")
            if path.name.removeprefix("fold_").isdecimal() and (path / checkpoint).is_file()
        )
        chosen = found or [folder / "fold_all"]
        if not (chosen[0] / checkpoint).is_file():
            raise FileError(f"{folder}: no fold has {checkpoint}. {_there_is(folder, checkpoint)}")
        return [path / checkpoint for path in chosen]
    if not folds:
        raise FileError(f"{folder}: no fold was named.")
    paths = [folder / f"fold_{fold}" / checkpoint for fold in folds]
    for path in paths:
        if not path.is_file():
            raise FileError(f"{path}: no such file. {_there_is(folder, checkpoint)}")
    return paths


def _there_is(folder: Path, checkpoint: str) -> str:
    """What the folder has instead, for a message."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.glob("fold_*/*.pth"))
    if not found:
        return "There are no checkpoints at all; was this model trained?"
    same = sorted(path.parent.name for path in folder.glob(f"fold_*/{checkpoint}"))
    return f"There is: {', '.join((same or found)[:10])}."


def _configuration_name(checkpoint: Checkpoint, path: Path) -> str:
    name = checkpoint.init_args.get("configuration")
    if not isinstance(name, str):
        raise FileError(f"{path}: does not say which configuration it was trained for.")
    return name
