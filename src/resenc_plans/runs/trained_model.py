"""A trained model with its weights: plans, dataset.json and a checkpoint per fold."""

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ModelError, expect_type
from resenc_plans.files import user_path
from resenc_plans.folders import DATASET_JSON, FINAL_CHECKPOINT, PLANS_JSON
from resenc_plans.networks.build import build_network
from resenc_plans.networks.imports import import_object, is_allowed, where_to_find
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.trained_configuration import trained_configuration
from resenc_plans.reprs import card, listed
from resenc_plans.runs.checkpoint import Checkpoint, bare_weights, load_checkpoint, load_weights
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_record import OwnCode, RunRecord

Fold = int | str
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainedModel:
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
    own_network: OwnCode | None = None
    """The code of the network, where it is another than the one that the plans name."""

    def __repr__(self) -> str:
        folds = listed(Path(source).parent.name for source in self.weights)
        return card(f"TrainedModel {self.config.name}", {"folder": self.folder, "folds": folds})

    @classmethod
    def load(
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
        ModelError
            A folder or a checkpoint is missing or damaged, or a checkpoint names functions to be
            called.
        FileError, PlansError, DatasetError
            Plans or dataset.json are not usable.
        """
        expect_type(folder, (str, os.PathLike), "folder", "the path of a model folder")
        folder = user_path(folder)
        if not folder.is_dir():
            raise ModelError(f"{folder}: no such folder. A trained model was expected there.")
        for name in (PLANS_JSON, DATASET_JSON):
            if not (folder / name).is_file():
                raise ModelError(
                    f"{folder}: has no {name}, so it is not the folder of a trained model. "
                    "It is named like nnUNetTrainer__nnUNetPlans__3d_fullres."
                )
        plan = Plans.load(folder / PLANS_JSON)
        dataset = DatasetJson.load(folder / DATASET_JSON)
        if isinstance(folds, int | str):
            folds = (folds,)
        first, *others = _checkpoints(ModelFolder(folder), folds, checkpoint)
        opened = load_checkpoint(first)
        weights = {str(first): opened.network_weights}
        for path in others:
            weights[str(path)] = load_checkpoint(path).network_weights
        record = RunRecord.load(first.parent)
        trainer = opened.trainer_name if record is None else record.settings.get("trainer")
        return cls(
            folder=folder,
            plan=plan,
            config=trained_configuration(plan.resolve(_configuration_name(opened, first)), trainer),
            dataset=dataset,
            labels=Labels.from_dataset(dataset),
            mirror_axes=opened.inference_allowed_mirroring_axes or (),
            weights=weights,
            own_network=None if record is None else record.code.get("network"),
        )

    def network(
        self, source: str, allow_import: Collection[str] = (), network: nn.Module | None = None
    ) -> nn.Module:
        """The network with the weights of the checkpoint `source`, ready to predict.

        It is a copy of `network` if that is given, else the one that the run's record names, if
        `allow_import` allows its module, else the one that the plans name.

        Raises
        ------
        ConfigurationError, NetworkError
            The network is unknown or cannot be built (see `build_network`).
        ModelError
            The weights are those of another architecture, or the network was the caller's own and
            is neither given nor may be imported.
        """
        channels, heads = input_channels(self.config, self.labels), self.labels.num_heads
        if network is not None:
            network = copy.deepcopy(network)
        elif self.own_network is not None:
            network = self._imported(self.own_network, channels, heads, allow_import)
        else:
            network = self._planned(self.weights[source], channels, heads, allow_import)
        load_weights(network, self.weights[source], source)
        network.register_forward_hook(_highest_resolution)
        return network.eval()

    def _planned(
        self, weights: Weights, channels: int, heads: int, allow_import: Collection[str]
    ) -> nn.Module:
        """The network that the plans name, with the heads that it was trained with.

        Some networks have those of lower resolutions with deep supervision only.
        """
        build = partial(build_network, self.config, channels, heads, allow_import=allow_import)
        network = build(deep_supervision=False)
        if set(bare_weights(weights)) - set(network.state_dict()):
            network = build(deep_supervision=True)
        return network

    def _imported(
        self, code: OwnCode, channels: int, heads: int, allow_import: Collection[str]
    ) -> nn.Module:
        if not code.importable or not is_allowed(code.import_path, allow_import):
            raise ModelError(self._how_to_name(code))
        network = import_object(code.import_path, allow_import)(channels, heads)
        if not isinstance(network, nn.Module):
            raise ModelError(f"{code.import_path}({channels}, {heads}) makes no PyTorch network.")
        return network

    def _how_to_name(self, code: OwnCode) -> str:
        text = (
            f"{self.folder}: was trained with a network of its own, {code.import_path}, which the "
            "plans do not name. Pass it in Python: Predictor.from_folder(folder, network=...)."
        )
        if not code.importable:
            return text
        return (
            f"{text} Or allow its module, if you trust it, so that {code.import_path} is called "
            f"with the numbers of input channels and output heads: `allow_import=` {code.module}."
            f"{where_to_find(code.module)}"
        )


def _highest_resolution(_network: nn.Module, _inputs: object, output: Any) -> Any:
    """The logits of the highest resolution, of a network that returns those of all scales."""
    return output if isinstance(output, Tensor) else output[0]


def _checkpoints(model: ModelFolder, folds: Sequence[Fold] | None, checkpoint: str) -> list[Path]:
    if folds is None:
        paths = [model.run(fold).checkpoint(checkpoint) for fold in model.folds() if fold.isdigit()]
        paths = sorted(path for path in paths if path.is_file())
        paths = paths or [model.run("all").checkpoint(checkpoint)]
        if not paths[0].is_file():
            raise ModelError(
                f"{model.folder}: no fold has {checkpoint}. {_alternatives(model, checkpoint)}"
            )
        return paths
    if not folds:
        raise ModelError(f"{model.folder}: no fold was named.")
    paths = [model.run(fold).checkpoint(checkpoint) for fold in folds]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path}: no such file. {_alternatives(model, checkpoint)}")
    return paths


def _alternatives(model: ModelFolder, checkpoint: str) -> str:
    """What the folder has instead, for a message."""
    checkpoints = sorted(
        path.relative_to(model.folder).as_posix() for path in model.folder.glob("fold_*/*.pth")
    )
    if not checkpoints:
        return "There are no checkpoints at all; was this model trained?"
    same = sorted(path.parent.name for path in model.folder.glob(f"fold_*/{checkpoint}"))
    return f"There is: {', '.join((same or checkpoints)[:10])}."


def _configuration_name(checkpoint: Checkpoint, path: Path) -> str:
    name = checkpoint.init_args.get("configuration")
    if not isinstance(name, str):
        raise ModelError(f"{path}: does not say which configuration it was trained for.")
    return name
