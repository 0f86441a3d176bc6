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
"""Weight of the lowest scale with several ranks, where every parameter must have a gradient.

A compiled network gives all of its parameters one, be it 0, so there the weight is 0."""

DiceSums = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From logits, the target and the mask of voxels that count to (3, b, classes), float32: overlap of
prediction and truth, size of the prediction, size of the truth."""


def label_sums(logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """`DiceSums` of the foreground; the target is (b, 1, *size), int64, 0 where masked."""
    with torch.no_grad():
        one_hot = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        one_hot.scatter_(1, target, 1)
    return _sums(logits.softmax(1)[:, 1:], one_hot[:, 1:], mask)


def region_sums(logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """`DiceSums` of regions; the target is (b, regions, *size), bool."""
    return _sums(logits.sigmoid(), target, mask)


def _sums(probabilities: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    axes = tuple(range(2, probabilities.ndim))
    with torch.no_grad():
        present = (truth if mask is None else truth & mask).sum(axes).to(torch.float32)
    predicted = probabilities if mask is None else probabilities * mask
    overlap = (predicted * truth).sum(axes, dtype=torch.float32)
    return torch.stack([overlap, predicted.sum(axes, dtype=torch.float32), present])


@dataclass(frozen=True)
class DiceCrossEntropy:
    """Of exclusive labels; the target is (b, 1, *size), background 0.

    With `batch_dice` the batch counts as one image. Voxels with `ignore_label` do not count.
    `batch_size` is that of all ranks together, if it is always the same: then only the number of
    voxels that are not ignored needs a reduction. `sums` may be a compiled `label_sums`.
    """

    batch_dice: bool
    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None
    sums: DiceSums = label_sums

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice of the foreground negative."""
        target = target.long()
        mask = None
        if self.ignore_label is not None:
            mask = target != self.ignore_label
            known = torch.where(mask, target, 0)
        else:
            known = target
        mean = MeanOverRanks(self.ranks, self.batch_size)
        dice = soft_dice(self.sums(logits, known, mask), mean, batch_dice=self.batch_dice)
        ignored = -100 if self.ignore_label is None else self.ignore_label
        entropy = cross_entropy(logits, target[:, 0], ignore_index=ignored, reduction="sum")
        return (mean.of(entropy, target) if mask is None else mean.masked(entropy, mask)) - dice


@dataclass(frozen=True)
class DiceBinaryCrossEntropy:
    """Of regions that may overlap; the target is (b, regions, *size).

    With `has_ignored` its last channel marks voxels that do not count; as in nnU-Net the
    cross-entropy is then summed over regions and averaged over voxels. `batch_size` and `sums` are
    as for `DiceCrossEntropy`, with `region_sums`.
    """

    batch_dice: bool
    has_ignored: bool = False
    ranks: Ranks = ALONE
    batch_size: int | None = None
    sums: DiceSums = region_sums

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice negative."""
        mask = None
        if self.has_ignored:
            mask = ~target[:, -1:].bool()
            target = target[:, :-1]
        mean = MeanOverRanks(self.ranks, self.batch_size)
        dice = soft_dice(self.sums(logits, target.bool(), mask), mean, batch_dice=self.batch_dice)
        entropy = binary_cross_entropy_with_logits(
            logits,
            target.to(logits.dtype),
            weight=None if mask is None else mask.to(logits.dtype),
            reduction="sum",
        )
        return (mean.of(entropy, target) if mask is None else mean.masked(entropy, mask)) - dice


@dataclass(frozen=True)
class MeanOverRanks:
    """What this rank adds to a mean over all ranks; the average over ranks is that mean."""

    ranks: Ranks
    batch_size: int | None
    """Of all ranks together; None where it may differ from batch to batch."""

    def of(self, total: Tensor, entries: Tensor) -> Tensor:
        """Of a sum over all entries (b, ...) of this rank."""
        if self.batch_size is None or self.ranks.world == 1:
            [everywhere] = self.ranks.total([entries.numel()])
        else:
            everywhere = entries.numel() // len(entries) * self.batch_size
        return total * (self.ranks.world / everywhere)

    def masked(self, total: Tensor, mask: Tensor) -> Tensor:
        """Of a sum over the voxels of a mask, 0 where there are none; nothing waits for it."""
        everywhere = self.ranks.sum(mask.sum())
        wide = torch.float32 if everywhere.device.type == "mps" else torch.float64
        factor = torch.where(everywhere > 0, self.ranks.world / everywhere.to(wide), 0).float()
        return (total.float() * factor).to(total.dtype)


def soft_dice(sums: Tensor, mean: MeanOverRanks, *, batch_dice: bool) -> Tensor:
    """Mean Dice over classes, and over samples without `batch_dice`; see `DiceSums`."""
    if batch_dice:
        sums = mean.ranks.sum(torch.stack([part.sum(0) for part in sums]))
    overlap, size, present = sums
    dice = (2 * overlap + SMOOTH) / (present + size + SMOOTH).clip(1e-8)
    return dice.mean() if batch_dice else mean.of(dice.sum(), dice)


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
