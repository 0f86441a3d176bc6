"""The memory of nnU-Net's loss: Dice with cross-entropy, or with binary cross-entropy for regions.

Under CUDA's autocast, in bytes per logit (DC_and_CE_loss, DC_and_BCE_loss with
MemoryEfficientSoftDiceLoss). Cross-entropy's log-softmax stays in fp16, since it is given a dtype;
the negative log likelihood casts to fp32 and keeps the cast.
"""

from dataclasses import dataclass
from typing import Literal

from resenc_plans.cost.operations import Buffer, Ledger

LossKind = Literal["cross-entropy", "binary cross-entropy"]

LABEL, INDEX = 2, 8
"""Bytes of a label in the target (int16), and as the index that cross-entropy needs (int64)."""


@dataclass(frozen=True)
class Logits:
    """One head's logits: how many per voxel, and voxels of the whole batch."""

    heads: int
    voxels: int

    @property
    def count(self) -> int:
        """Number of logits."""
        return self.heads * self.voxels


class Loss:
    """The loss of one head, forward and backward, booked in a ledger.

    With `fused_dice`, Dice is compiled to kernels that keep only statistics per voxel, as nnU-Net
    has it where torch.compile is on; else each operation makes its tensor.
    """

    def __init__(self, ledger: Ledger, kind: LossKind, *, fused_dice: bool) -> None:
        self.ledger = ledger
        self.kind = kind
        self.fused_dice = fused_dice

    def target_bytes(self, logits: Logits) -> int:
        """The target: a label per voxel, or for regions a boolean per head and voxel."""
        if self.kind == "cross-entropy":
            return LABEL * logits.voxels
        return logits.count

    def forward(self, logits: Logits) -> tuple[Buffer, ...]:
        """What the loss keeps for its backward."""
        dice = self._dice(logits)
        n, new = logits.count, self.ledger.new
        if self.kind == "cross-entropy":
            saved = [new(INDEX * logits.voxels), new(2 * n), new(4 * n)]
            self.ledger.touch(2 * n, 2 * n, 2 * n, 4 * n, 4 * n)
        else:
            saved = [new(4 * n), new(4 * n)]
            self.ledger.momentary((4 * n, 4 * n))
            self.ledger.touch(n, 4 * n, 2 * n, 4 * n, 4 * 4 * n)
        return (*dice, *saved)

    def backward(self, logits: Logits, saved: tuple[Buffer, ...]) -> Buffer:
        """The gradient of the logits (fp16); frees what was saved."""
        ledger, n = self.ledger, logits.count
        if self.kind == "cross-entropy":
            *dice, index, log_probabilities, cast = saved
            of_cast = ledger.new(4 * n)
            ledger.free(cast, index)
            of_log = ledger.new(2 * n)
            ledger.free(of_cast)
            gradient = ledger.new(2 * n)
            ledger.free(of_log, log_probabilities)
            ledger.touch(4 * n, 4 * n, 2 * n, 3 * 2 * n)
        else:
            *dice, target, cast = saved
            of_cast = ledger.new(4 * n)
            ledger.momentary((4 * n,))
            ledger.free(target, cast)
            gradient = ledger.new(2 * n)
            ledger.free(of_cast)
            ledger.touch(4 * 4 * n, 4 * n, 2 * n)
        of_dice = self._dice_gradient(logits, dice)
        ledger.free(of_dice)
        ledger.touch(3 * 2 * n)
        return gradient

    def _dice(self, logits: Logits) -> tuple[Buffer, ...]:
        ledger, n = self.ledger, logits.count
        if self.fused_dice:
            ledger.touch(2 * n)
            return (ledger.new(8 * logits.voxels),)
        if self.kind == "cross-entropy":
            probabilities = ledger.new(4 * n)
            one_hot = ledger.new(4 * n)
            ledger.momentary((max(INDEX * logits.voxels, 4 * (n - logits.voxels)),))
            ledger.touch(2 * n, 4 * n, 4 * n)
            ledger.touch(4 * n, 3 * 4 * n, 4 * n)
        else:
            probabilities = ledger.new(2 * n)
            one_hot = ledger.new(4 * n)
            ledger.momentary((4 * n,))
            ledger.touch(2 * n, 2 * n, n, 4 * n)
            ledger.touch(4 * n, 2 * n, 2 * 4 * n, 2 * n)
        return probabilities, one_hot

    def _dice_gradient(self, logits: Logits, saved: list[Buffer]) -> Buffer:
        """Dice's part of the gradient of the logits (fp16)."""
        ledger, n = self.ledger, logits.count
        if self.fused_dice:
            ledger.free(*saved)
            ledger.touch(2 * n, 2 * n)
            return ledger.new(2 * n)
        probabilities, one_hot = saved
        if self.kind == "cross-entropy":
            foreground = 4 * (n - logits.voxels)
            product = ledger.new(foreground)
            ledger.free(one_hot)
            both = ledger.new(foreground)
            ledger.free(product)
            of_probabilities = ledger.new(4 * n)
            ledger.free(both)
            ledger.touch(2 * 4 * n, 3 * 4 * n, 2 * 4 * n)
        else:
            product = ledger.new(4 * n)
            ledger.free(one_hot)
            half = ledger.new(2 * n)
            ledger.free(product)
            of_probabilities = ledger.new(2 * n)
            ledger.free(half)
            ledger.touch(2 * 4 * n, 4 * n, 2 * n, 3 * 2 * n)
        gradient = ledger.new(2 * n)
        ledger.free(of_probabilities, probabilities)
        ledger.touch(of_probabilities.size, probabilities.size, gradient.size)
        return gradient
