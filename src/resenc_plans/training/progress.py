"""What a trainer reports while it runs, and at its end."""

from dataclasses import dataclass
from pathlib import Path

from resenc_plans.training.history import Epoch


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
    """Whether all epochs are done; if not, it goes on with `resume`."""
    reason: str | None
    """Why it stopped early."""
    checkpoint: Path
    epochs: tuple[Epoch, ...]
