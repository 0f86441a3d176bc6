"""A training as a checkpoint of nnU-Net's format, and back.

nnU-Net reads what it needs and passes over the key `resenc_plans`, which holds what continues a run
in the middle of an epoch, bit for bit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resenc_plans.errors import FileError
from resenc_plans.folders import TRAINER_NAME
from resenc_plans.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from resenc_plans.training.batches.patch_geometry import mirroring_axes
from resenc_plans.training.checkpoint_origin import OWN_KEY, check_origin
from resenc_plans.training.history import Epoch, from_logging, to_logging

if TYPE_CHECKING:
    from resenc_plans.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingState:
    """Where a training is, beside its weights and the optimiser."""

    epochs: tuple[Epoch, ...]
    best: float | None
    """The best smoothed Dice so far."""
    iteration: int
    """Batches of the current epoch that are done."""
    epoch_losses: tuple[float, ...]
    """Their losses."""
    epoch_seconds: float
    """Time that the current epoch has taken so far, without pauses between runs."""


def save_state(path: Path, state: TrainingState, trainer: "Trainer") -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    FileError
        It cannot be written; what was there before is unchanged.
    """
    config, dataset = trainer.config, trainer.dataset
    own: dict[str, Any] = {
        "iteration": state.iteration,
        "epoch_losses": list(state.epoch_losses),
        "epoch_seconds": state.epoch_seconds,
        "settings": trainer.settings.model_dump(),
        "random_state": torch.get_rng_state(),
    }
    if trainer.device.type == "cuda":
        own["cuda_random_state"] = torch.cuda.get_rng_state(trainer.device)
    checkpoint = Checkpoint(
        network_weights=trainer.network.state_dict(),
        optimizer_state=trainer.optimizer.state_dict(),
        grad_scaler_state=trainer.scaler.state_dict() if trainer.scaler else None,
        logging=to_logging(state.epochs),
        best_ema=state.best,
        current_epoch=len(state.epochs),
        init_args={
            "plans": config.plans.to_dict(),
            "configuration": config.name,
            "fold": trainer.fold,
            "dataset_json": dataset.json.to_dict(),
            "device": trainer.device,
        },
        trainer_name=TRAINER_NAME,
        inference_allowed_mirroring_axes=mirroring_axes(config),
        extra={OWN_KEY: own},
    )
    save_checkpoint(path, checkpoint)


def load_state(path: Path | None, trainer: "Trainer") -> TrainingState:
    """Put a checkpoint's weights, optimiser and random state into a trainer, and tell the rest.

    Raises
    ------
    FileError
        There is none, it is damaged, or belongs to another run, see `check_origin`.
    """
    if path is None:
        raise FileError(
            f"{trainer.folder.path}: has no checkpoint to go on from. Train without --resume."
        )
    checkpoint = load_checkpoint(path)
    check_origin(path, checkpoint, trainer)
    load_weights(trainer.network, checkpoint.network_weights, str(path))
    if checkpoint.optimizer_state is None:
        raise FileError(f"{path}: holds weights only, so training cannot go on; use --pretrained.")
    trainer.optimizer.load_state_dict(dict(checkpoint.optimizer_state))
    if trainer.scaler and checkpoint.grad_scaler_state:
        trainer.scaler.load_state_dict(dict(checkpoint.grad_scaler_state))
    own = checkpoint.extra.get(OWN_KEY, {})
    if "random_state" in own:
        torch.set_rng_state(own["random_state"])
    if "cuda_random_state" in own and trainer.device.type == "cuda":
        torch.cuda.set_rng_state(own["cuda_random_state"], trainer.device)
    try:
        epochs = from_logging(checkpoint.logging, checkpoint.current_epoch)
    except (KeyError, IndexError) as error:
        raise FileError(f"{path}: its curves are incomplete ({error}).") from None
    return TrainingState(
        epochs,
        checkpoint.best_ema,
        int(own.get("iteration", 0)),
        tuple(own.get("epoch_losses", ())),
        float(own.get("epoch_seconds", 0.0)),
    )
