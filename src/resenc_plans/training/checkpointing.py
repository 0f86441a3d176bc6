"""A training as a checkpoint of nnU-Net's format, and back.

nnU-Net reads what it needs and skips the key `resenc_plans`, which holds what resumes a run in the
middle of an epoch, bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ModelError, ResencPlansError, TrainingError
from resenc_plans.folders import TRAINER_NAME
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import is_head
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.trained_configuration import trained_configuration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import (
    OWN_KEY,
    Checkpoint,
    bare_weights,
    load_checkpoint,
    load_weights,
)
from resenc_plans.runs.run_record import changes
from resenc_plans.training.batches.patch_geometry import mirroring_axes
from resenc_plans.training.history import Epoch, from_logging, to_logging
from resenc_plans.training.step import TrainingStep
from resenc_plans.words import counted

_MOMENTA = {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
"""What optimizers keep of each weight, in its shape."""

_DECISIVE = (
    *("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm"),
    *("batch_dice", "previous_stage"),
)
"""Fields of a configuration that a run cannot change when it resumes, beside the network. It can
change the batch size, and what only planning or prediction use."""


@dataclass(frozen=True)
class RunIdentity:
    """What a run trains: a checkpoint of another one does not resume it."""

    config: ResolvedConfiguration
    dataset: Dataset
    fold: int | str
    settings: TrainingSettings
    trainer_name: str = TRAINER_NAME
    """A class that nnU-Net knows, wherever the network is the one that the plans name."""


@dataclass(frozen=True)
class TrainingState:
    """Where a training is, beside its weights and the optimizer."""

    epochs: tuple[Epoch, ...]
    best: float | None
    """The best smoothed Dice so far."""
    iteration: int
    """Batches of the current epoch that are done."""
    epoch_losses: tuple[float, ...]
    """Their losses, each the mean over all ranks."""
    epoch_seconds: float
    """Time that the current epoch has taken so far, without pauses between runs."""


@runtime_checkable
class Adapts(Protocol):
    """A network that can start from the weights of a somewhat different one."""

    def adapted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in this network's shapes, where it knows how."""


def checkpoint_of(state: TrainingState, run: RunIdentity, step: TrainingStep) -> Checkpoint:
    """What a checkpoint holds; weights and momenta are those that are being trained, no copies."""
    own: dict[str, Any] = {
        "iteration": state.iteration,
        "epoch_losses": list(state.epoch_losses),
        "epoch_seconds": state.epoch_seconds,
        "settings": run.settings.model_dump(),
    }
    return Checkpoint(
        network_weights=step.network.state_dict(),
        optimizer_state=step.optimizer.state_dict(),
        grad_scaler_state=step.scaler.state_dict() if step.scaler else None,
        logging=to_logging(state.epochs),
        best_ema=state.best,
        current_epoch=len(state.epochs),
        init_args={
            "plans": run.config.plans.to_dict(),
            "configuration": run.config.name,
            "fold": run.fold,
            "dataset_json": run.dataset.json.to_dict(),
            "device": step.device,
        },
        trainer_name=run.trainer_name,
        inference_allowed_mirroring_axes=mirroring_axes(run.config.dim, run.settings.augmentation)
        or None,
        extra={OWN_KEY: own},
    )


def load_state(path: Path, run: RunIdentity, step: TrainingStep) -> TrainingState:
    """Put a checkpoint's weights and optimizer into a step, and return the rest.

    Raises
    ------
    ModelError
        The checkpoint is damaged, or holds weights only.
    TrainingError
        It belongs to another run, see `check_origin`, or to another optimizer.
    """
    checkpoint = load_checkpoint(path)
    check_origin(path, checkpoint, run)
    load_weights(step.network, checkpoint.network_weights, str(path))
    if checkpoint.optimizer_state is None:
        raise ModelError(
            f"{path}: holds weights only, so training cannot resume from it. Use "
            "`pretrained=` to start from them."
        )
    _load_optimizer(step.optimizer, checkpoint.optimizer_state, path)
    own = _own_state(checkpoint, path)
    try:
        if step.scaler and checkpoint.grad_scaler_state:
            step.scaler.load_state_dict(dict(checkpoint.grad_scaler_state))
    except (KeyError, TypeError, RuntimeError) as error:  # of torch, on other tensors than its own
        raise ModelError(f"{path}: its state of training is damaged ({error}).") from None
    try:
        epochs = from_logging(checkpoint.logging, checkpoint.current_epoch)
        return TrainingState(
            epochs,
            checkpoint.best_ema,
            int(own.get("iteration", 0)),
            tuple(map(float, own.get("epoch_losses", ()))),
            float(own.get("epoch_seconds", 0.0)),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its curves are incomplete ({error}).") from None


def check_resumable(path: Path, run: RunIdentity) -> tuple[int, int]:
    """Check that a run can resume from a checkpoint, whose weights are not read.

    Returns the epochs that are done, and the batches of the next one that are.

    Raises
    ------
    ModelError
        The checkpoint is damaged.
    TrainingError
        It belongs to another run, see `check_origin`.
    """
    checkpoint = load_checkpoint(path, mapped=True)
    check_origin(path, checkpoint, run)
    try:
        return checkpoint.current_epoch, int(_own_state(checkpoint, path).get("iteration", 0))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: its state of training is damaged ({error}).") from None


def resuming(path: Path, epochs_done: int, iteration: int, epochs: int) -> str:
    """Where a run of `epochs` resumes from a checkpoint, as a sentence for people."""
    if epochs_done >= epochs:
        return f"{path} is complete with {counted(epochs_done, 'epoch')}: nothing is left to train."
    batch = f", batch {iteration + 1}" if iteration else ""
    return f"Resuming from {path} with epoch {epochs_done + 1} of {epochs}{batch}."


def without_checkpoint(folder: Path) -> str:
    """What happens where a run is to resume and its folder has no checkpoint, as a sentence."""
    return f"{folder} has no checkpoint yet: training begins at the start."


def load_pretrained(network: nn.Module, path: Path, network_class_name: str) -> tuple[str, ...]:
    """Put a checkpoint's weights into a network; returns the names of heads that were not changed.

    Heads, which `is_head` knows by their names in the networks of a class, keep their initial
    weights where the checkpoint's are of another shape or missing, since another dataset has other
    labels and a training without deep supervision fewer heads. Heads that only the checkpoint has
    are left out. A network with the method `adapted` makes its own of the weights first, as MedNeXt
    does with smaller kernels.

    Raises
    ------
    ModelError
        The file is not a checkpoint, or anything but heads differs.
    """
    weights = bare_weights(load_checkpoint(path).network_weights)
    if isinstance(network, Adapts):
        weights = network.adapted(weights)
    own = network.state_dict()
    heads = {name for name in own.keys() | weights.keys() if is_head(name, network_class_name)}
    skipped = tuple(
        name
        for name, value in own.items()
        if name in heads and (name not in weights or weights[name].shape != value.shape)
    )
    if len(skipped) == len(own):
        raise ModelError(f"{path}: no parameter fits this network.")
    fitting = {
        name: weight
        for name, weight in weights.items()
        if name not in heads or (name in own and name not in skipped)
    }
    load_weights(network, fitting | {name: own[name] for name in skipped}, str(path))
    return skipped


def check_origin(path: Path, checkpoint: Checkpoint, run: RunIdentity) -> None:
    """Compare what a checkpoint holds about its run with the run that is to resume from it.

    Raises
    ------
    TrainingError
        It is of another configuration or fold, or its plans describe another network, patch or
        data under the same name, its dataset has other labels, or its settings other batches.
    """
    arguments = checkpoint.init_args
    for key, own in (("configuration", run.config.name), ("fold", run.fold)):
        if str(arguments.get(key)) != str(own):
            raise TrainingError(
                f"{path}: is of {key} {arguments.get(key)}, not {own}. Use "
                "`pretrained=` to start from its weights, or name the right one."
            )
    differences = _differences(checkpoint, run)
    if differences:
        raise TrainingError(
            f"{path}: was trained with another {run.config.name}: {'; '.join(differences)}. Use "
            "the plans and the dataset that it was trained with, or `pretrained=` to start from "
            "its weights."
        )
    before = _own_state(checkpoint, path).get("settings")
    before = before if isinstance(before, Mapping) else {}
    now = run.settings.model_dump()
    for key in ("iterations", "seed"):
        if key in before and before[key] != now[key]:
            raise TrainingError(
                f"{path}: was trained with {key} {before[key]}, not {now[key]}, and resumes with "
                f"no other. Resume with {key} {before[key]}, or begin anew (`overwrite=`)."
            )


def _own_state(checkpoint: Checkpoint, path: Path) -> Mapping[str, Any]:
    """What our trainer puts into a checkpoint beside nnU-Net's keys."""
    own = checkpoint.extra.get(OWN_KEY, {})
    if not isinstance(own, Mapping):
        raise ModelError(f"{path}: {OWN_KEY} is a {type(own).__name__}, not what training saves.")
    return own


def _load_optimizer(optimizer: Optimizer, state: Mapping[str, Any], path: Path) -> None:
    """Load momenta and learning rates; other options, such as weight decay, are this run's.

    Each of two kinds of optimizer has options that the other has not.
    """
    own_groups, saved_groups = optimizer.state_dict()["param_groups"], state.get("param_groups")
    if not isinstance(saved_groups, list) or not all(isinstance(g, Mapping) for g in saved_groups):
        raise ModelError(f"{path}: the state of its optimizer is damaged: it has no param_groups.")
    for own, saved in zip(own_groups, saved_groups, strict=False):
        foreign = set(saved) - set(own) - {"initial_lr"}
        if foreign and set(own) - set(saved):
            raise TrainingError(
                f"{path}: was trained with another optimizer, whose options are "
                f"{', '.join(sorted(foreign))}. Resume with that, or use `pretrained=` to start "
                "from its weights."
            )
    try:
        groups = [
            {key: saved[key] if key in ("params", "lr") else value for key, value in own.items()}
            for own, saved in zip(own_groups, saved_groups, strict=False)
        ]
        optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    except ValueError as error:
        raise TrainingError(f"{path}: its optimizer is of other parameters ({error}).") from None
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # of torch, on other kinds
        raise ModelError(f"{path}: the state of its optimizer is damaged ({error}).") from None
    for parameter, momenta in optimizer.state.items():
        for key in _MOMENTA & momenta.keys():
            momentum = momenta[key]
            if momentum is None:
                continue
            if getattr(momentum, "shape", None) != parameter.shape:
                raise ModelError(
                    f"{path}: the state of its optimizer is damaged: {key} of a weight."
                )
            # In the weight's memory format: fused optimizers take both as they lie in memory.
            momenta[key] = torch.empty_like(parameter).copy_(momentum)


def _differences(checkpoint: Checkpoint, run: RunIdentity) -> list[str]:
    differences = []
    arguments = checkpoint.init_args
    plans, dataset = arguments.get("plans"), arguments.get("dataset_json")
    try:
        if isinstance(plans, Mapping):
            before = trained_configuration(
                Plans.from_dict(dict(plans)).resolve(run.config.name), checkpoint.trainer_name
            )
            differences += changes(_decisive(before), _decisive(run.config))
        if isinstance(dataset, Mapping):
            labels = Labels.from_dataset(DatasetJson.from_dict(dict(dataset)))
            differences += changes(vars(labels), vars(run.dataset.labels))
    except ResencPlansError as error:
        differences.append(f"its own plans or dataset.json are not usable ({error})")
    return differences


def _decisive(config: ResolvedConfiguration) -> dict[str, Any]:
    architecture = config.architecture
    arguments = architecture.arch_kwargs
    return {
        **{key: getattr(config, key) for key in _DECISIVE},
        "network": architecture.network_class_name.rpartition(".")[2],
        **(dict(arguments) if isinstance(arguments, Mapping) else arguments.model_dump()),
    }
