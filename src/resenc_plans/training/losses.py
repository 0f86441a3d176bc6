"""nnU-Net 2.8.1's losses: Dice with cross-entropy, binary where there are regions.

`DC_and_CE_loss` and `DC_and_BCE_loss` with `MemoryEfficientSoftDiceLoss`. Means are taken over the
global batch: each rank divides its sums by the counts of all ranks, so that the average of the
ranks' gradients is the gradient of one process that had the whole batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from resenc_plans.training.ranks import ALONE, Ranks

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (b, heads, *size) and the target of that size to one number."""

SMOOTH = 1e-5
LOWEST_WEIGHT_OF_RANKS = 1e-6
"""Weight of the lowest scale with several ranks, where every parameter must have a gradient."""


@dataclass(frozen=True)
class DiceCrossEntropy:
    """Of exclusive labels; the target is (b, 1, *size), background 0.

    With `batch_dice` the batch counts as one image. Voxels with `ignore_label` do not count.
    """

    batch_dice: bool
    ignore_label: int | None = None
    ranks: Ranks = ALONE

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice of the foreground negative."""
        target = target.long()
        mask = None
        if self.ignore_label is not None:
            mask = target != self.ignore_label
            known = torch.where(mask, target, 0)
        else:
            known = target
        with torch.no_grad():
            one_hot = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
            one_hot.scatter_(1, known, 1)
        foreground = logits.softmax(1)[:, 1:]
        dice = soft_dice(
            foreground, one_hot[:, 1:], mask, batch_dice=self.batch_dice, ranks=self.ranks
        )
        ignored = -100 if self.ignore_label is None else self.ignore_label
        entropy = cross_entropy(logits, target[:, 0], ignore_index=ignored, reduction="sum")
        count = target.numel() if mask is None else int(mask.sum())
        return share_of_mean(entropy, count, self.ranks) - dice


@dataclass(frozen=True)
class DiceBinaryCrossEntropy:
    """Of regions that may overlap; the target is (b, regions, *size).

    With `has_ignored` its last channel marks voxels that do not count; as in nnU-Net the
    cross-entropy is then summed over regions and averaged over voxels.
    """

    batch_dice: bool
    has_ignored: bool = False
    ranks: Ranks = ALONE

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice negative."""
        mask = None
        if self.has_ignored:
            mask = ~target[:, -1:].bool()
            target = target[:, :-1]
        dice = soft_dice(
            logits.sigmoid(), target.bool(), mask, batch_dice=self.batch_dice, ranks=self.ranks
        )
        entropy = binary_cross_entropy_with_logits(
            logits,
            target.to(logits.dtype),
            weight=None if mask is None else mask.to(logits.dtype),
            reduction="sum",
        )
        count = target.numel() if mask is None else int(mask.sum())
        return share_of_mean(entropy, count, self.ranks) - dice


def soft_dice(
    probabilities: Tensor, truth: Tensor, mask: Tensor | None, *, batch_dice: bool, ranks: Ranks
) -> Tensor:
    """Mean Dice over classes, and over samples without `batch_dice`; (b, classes, *size) each."""
    axes = tuple(range(2, probabilities.ndim))
    with torch.no_grad():
        present = (truth if mask is None else truth & mask).sum(axes).to(torch.float32)
    predicted = probabilities if mask is None else probabilities * mask
    overlap = (predicted * truth).sum(axes, dtype=torch.float32)
    size = predicted.sum(axes, dtype=torch.float32)
    if batch_dice:
        overlap, size, present = ranks.sum(
            torch.stack([overlap.sum(0), size.sum(0), present.sum(0)])
        )
    dice = (2 * overlap + SMOOTH) / (present + size + SMOOTH).clip(1e-8)
    return dice.mean() if batch_dice else share_of_mean(dice.sum(), dice.numel(), ranks)


def share_of_mean(total: Tensor, count: int, ranks: Ranks) -> Tensor:
    """What this rank adds to the mean over all ranks; the average over ranks is that mean.

    0 where nothing counts.
    """
    [everywhere] = ranks.total([count])
    return total * (ranks.world / everywhere) if everywhere else total * 0


@dataclass(frozen=True)
class DeepSupervision:
    """A loss over several scales, highest resolution first; scales of weight 0 are left out."""

    loss: Loss
    weights: tuple[float, ...]

    def __call__(self, logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The weighted sum."""
        losses = [
            weight * self.loss(scale, target)
            for weight, scale, target in zip(self.weights, logits, targets, strict=True)
            if weight
        ]
        return torch.stack(losses).sum()
