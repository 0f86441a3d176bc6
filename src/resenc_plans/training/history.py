"""The figures of each epoch, in nnU-Net's lists too, and what a trainer reports as it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from resenc_plans.reprs import card

EMA_SHARE_OF_OLD = 0.9

_LISTS = {
    "mean_fg_dice": "mean_dice",
    "ema_fg_dice": "smoothed_dice",
    "dice_per_class_or_region": "dice",
    "train_losses": "training_loss",
    "val_losses": "validation_loss",
    "lrs": "learning_rate",
    "epoch_start_timestamps": "begun",
    "epoch_end_timestamps": "ended",
}
"""nnU-Net's names, and the fields that hold the values."""


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch."""

    training_loss: float
    validation_loss: float
    dice: tuple[float, ...]
    """Pseudo Dice per foreground class or region; NaN where a class has none."""
    smoothed_dice: float
    """Moving average of the mean pseudo Dice, by which the best checkpoint is chosen."""
    learning_rate: float
    begun: float
    """Seconds since 1970, as `ended`."""
    ended: float

    @property
    def mean_dice(self) -> float:
        """Over the classes that have a value; NaN if none has."""
        known = [value for value in self.dice if not isnan(value)]
        return fmean(known) if known else float("nan")

    @property
    def seconds(self) -> float:
        """How long the epoch took."""
        return self.ended - self.begun


def smoothed(previous: float | None, mean_dice: float) -> float:
    """The next value of the moving average.

    >>> smoothed(None, 0.5)
    0.5
    """
    if previous is None or isnan(previous):
        return mean_dice
    if isnan(mean_dice):
        return previous
    return EMA_SHARE_OF_OLD * previous + (1 - EMA_SHARE_OF_OLD) * mean_dice


def to_logging(epochs: tuple[Epoch, ...]) -> dict[str, list[Any]]:
    """The lists for a checkpoint."""
    logging = {key: [getattr(epoch, name) for epoch in epochs] for key, name in _LISTS.items()}
    logging["dice_per_class_or_region"] = [list(epoch.dice) for epoch in epochs]
    return logging


def from_logging(logging: Mapping[str, Any], count: int) -> tuple[Epoch, ...]:
    """The first `count` epochs of a checkpoint of nnU-Net or of ours.

    Raises
    ------
    KeyError, IndexError
        A list is missing or too short.
    """
    return tuple(
        Epoch(
            training_loss=float(logging["train_losses"][number]),
            validation_loss=float(logging["val_losses"][number]),
            dice=tuple(float(d) for d in logging["dice_per_class_or_region"][number]),
            smoothed_dice=float(logging["ema_fg_dice"][number]),
            learning_rate=float(logging["lrs"][number]),
            begun=float(logging["epoch_start_timestamps"][number]),
            ended=float(logging["epoch_end_timestamps"][number]),
        )
        for number in range(count)
    )


@dataclass(frozen=True)
class Progress:
    """Where a training is, after each batch, of training or validation, and each epoch."""

    epoch: int
    iteration: int
    """Batches of this epoch, or of its validation, that are done."""
    iterations: int
    """All of them."""
    is_training: bool
    """False in the validation after the epoch."""
    loss: float
    learning_rate: float
    finished: Epoch | None = None
    """The figures of the epoch, when it is over."""
    waited: float = 0.0
    """Share of the epoch's time that was spent waiting for data."""
    note: str | None = None


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended."""

    is_complete: bool
    """Whether all epochs are done; if not, it continues with `Trainer.resume`."""
    reason: str | None
    """Why it stopped early."""
    checkpoint: Path
    """Of the end; there is none with `save_checkpoints` false."""
    epochs: tuple[Epoch, ...]

    def __repr__(self) -> str:
        return card(
            "TrainingResult",
            {
                "complete": self.is_complete,
                "reason": self.reason,
                "checkpoint": self.checkpoint,
                "epochs": len(self.epochs),
                "last pseudo Dice": f"{self.epochs[-1].mean_dice:.4f}" if self.epochs else None,
            },
        )
