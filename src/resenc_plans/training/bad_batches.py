"""Ends a training whose losses or gradients are no numbers, before hours are spent on it."""

import math

import torch

from resenc_plans.errors import ResencPlansError

PATIENCE = 5
"""Batches in a row whose loss or gradients are not finite, after which training stops."""
LOWEST_SCALE = 1.0
"""A gradient scaler halves its scale at each overflow; below this the scale is not to blame."""


class BadBatches:
    """Counts those that came in a row, and remembers their cases."""

    def __init__(self) -> None:
        self._cases: list[tuple[str, ...]] = []

    def count(
        self,
        loss: float,
        norm: float,
        cases: tuple[str, ...],
        scaler: torch.amp.GradScaler | None,
        epoch: int,
    ) -> None:
        """Take note of a batch: its loss, and the norm of its gradients.

        Raises
        ------
        ResencPlansError
            It is one too many in a row; the message names the cases.
        """
        is_good = math.isfinite(loss) and (math.isfinite(norm) or _is_overflow(scaler))
        self._cases = [] if is_good else [*self._cases, tuple(cases)]
        if len(self._cases) >= PATIENCE:
            names = ", ".join(sorted({name for batch in self._cases for name in batch}))
            raise ResencPlansError(
                f"Epoch {epoch}: loss or gradients were not finite in {PATIENCE} batches in a row; "
                f"training stops, the last checkpoint is good. Cases: {names}. Look at their "
                "images, or use another --precision or a lower learning rate."
            )


def _is_overflow(scaler: torch.amp.GradScaler | None) -> bool:
    """Whether a gradient that is not finite may be due to the scale, which has fallen by now."""
    return scaler is not None and scaler.get_scale() >= LOWEST_SCALE
