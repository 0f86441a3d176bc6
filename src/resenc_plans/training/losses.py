"""nnU-Net 2.8.1's losses: Dice with cross-entropy, binary where there are regions; and others'.

`DC_and_CE_loss` and `DC_and_BCE_loss` with `MemoryEfficientSoftDiceLoss`. With a squared
denominator, with the background, and with the focal loss they are MONAI's `DiceCELoss` and
`DiceFocalLoss`, with minus the Dice instead of 1 minus it. Each of the two may stand alone, and
the cross-entropy may be that of the worst voxels, as in `TopKLoss`. Means are taken over the global
batch: each rank divides its sums by the counts of all ranks, so that the average of the ranks'
gradients is the gradient of one process that had the whole batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from resenc_plans.training.ranks import ALONE, Ranks

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (b, heads, *size) and the target of that size to one number."""

SMOOTH = 1e-5
LOWEST_WEIGHT_OF_RANKS = 1e-6
"""Weight of the lowest scale with several ranks, where every parameter must have a gradient.

A compiled network gives all of its parameters one, be it 0: there the weight is 0 (`no_loss`)."""

DiceSums = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From logits, the target and the mask of voxels that count to (3, b, classes), float32: overlap of
prediction and truth, size of the prediction, size of the truth."""


def label_sums(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    *,
    background: bool = False,
    squared: bool = False,
) -> Tensor:
    """`DiceSums` of the foreground, or of all labels with `background`.

    The target is (b, 1, *size), int64, 0 where masked. For `squared` see `_sums`.
    """
    first = 0 if background else 1
    truth = _one_hot(target, logits)[:, first:]
    return _sums(logits.softmax(1)[:, first:], truth, mask, squared=squared)


def region_sums(
    logits: Tensor, target: Tensor, mask: Tensor | None, *, squared: bool = False
) -> Tensor:
    """`DiceSums` of regions; the target is (b, regions, *size), bool. For `squared` see `_sums`."""
    return _sums(logits.sigmoid(), target, mask, squared=squared)


def _one_hot(target: Tensor, logits: Tensor) -> Tensor:
    with torch.no_grad():
        one_hot = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        return one_hot.scatter_(1, target, 1)


def _sums(
    probabilities: Tensor, truth: Tensor, mask: Tensor | None, *, squared: bool = False
) -> Tensor:
    """With `squared`, the size of the prediction is that of its squares."""
    axes = tuple(range(2, probabilities.ndim))
    with torch.no_grad():
        present = (truth if mask is None else truth & mask).sum(axes).to(torch.float32)
    predicted = probabilities if mask is None else probabilities * mask
    overlap = (predicted * truth).sum(axes, dtype=torch.float32)
    size = (predicted * predicted if squared else predicted).sum(axes, dtype=torch.float32)
    return torch.stack([overlap, size, present])


@dataclass(frozen=True)
class DiceCrossEntropy:
    """Of exclusive labels; the target is (b, 1, *size), background 0.

    With `batch_dice` the batch counts as one image. Voxels with `ignore_label` do not count.
    `batch_size` is that of all ranks together, if it is always the same: then only the number of
    voxels that are not ignored needs a reduction. `sums` may be a compiled `label_sums`. For
    `smooth` see `soft_dice`, for `worst_share` see `CrossEntropy`.
    """

    batch_dice: bool
    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None
    sums: DiceSums = label_sums
    smooth: float = SMOOTH
    worst_share: float = 1.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice of the foreground negative."""
        return self.begin(logits, target).end(self.ranks)

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        target = target.long()
        mask = None
        if self.ignore_label is not None:
            mask = target != self.ignore_label
            known = torch.where(mask, target, 0)
        else:
            known = target
        mean = MeanOverRanks(self.ranks, self.batch_size)
        dice = soft_dice(
            self.sums(logits, known, mask), mean, batch_dice=self.batch_dice, smooth=self.smooth
        )
        entropy = CrossEntropy(self.ignore_label, self.ranks, self.batch_size, self.worst_share)
        return entropy.begin(logits, target) - dice


@dataclass(frozen=True)
class CrossEntropy:
    """Of exclusive labels; target, `ignore_label` and `batch_size` are as in `DiceCrossEntropy`.

    With a `worst_share` below 1 the mean is over that share of the voxels of a rank, those where it
    is highest; ignored ones count as voxels where it is 0, as in nnU-Net.
    """

    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None
    worst_share: float = 1.0
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean."""
        return self.begin(logits, target).end(self.ranks)

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        target = target.long()
        is_mean = self.worst_share == 1
        entropy = cross_entropy(
            logits,
            target[:, 0],
            ignore_index=-100 if self.ignore_label is None else self.ignore_label,
            reduction="sum" if is_mean else "none",
            label_smoothing=self.label_smoothing,
        )
        mean = MeanOverRanks(self.ranks, self.batch_size)
        if not is_mean:
            worst = max(1, int(entropy.numel() * self.worst_share))
            top = entropy.flatten().topk(worst, sorted=False).values.sum()
            return mean.begin(top * (entropy.numel() / worst), entropy)
        mask = None if self.ignore_label is None else target != self.ignore_label
        return mean.begin(entropy, target, mask)


@dataclass(frozen=True)
class Dice:
    """The Dice alone, of labels or regions; targets are as for the other two losses.

    `ignore_label`, `batch_size` and `sums` are as in `DiceFocal` and `DiceCrossEntropy`.
    """

    batch_dice: bool
    regions: bool = False
    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None
    sums: DiceSums = label_sums
    smooth: float = SMOOTH

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Minus the mean."""
        return self.begin(logits, target).end(self.ranks)

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        mask = None
        if self.regions:
            if self.ignore_label is not None:
                mask, target = ~target[:, -1:].bool(), target[:, :-1]
            target = target.bool()
        else:
            target = target.long()
            if self.ignore_label is not None:
                mask = target != self.ignore_label
                target = torch.where(mask, target, 0)
        mean, sums = MeanOverRanks(self.ranks, self.batch_size), self.sums(logits, target, mask)
        return -soft_dice(sums, mean, batch_dice=self.batch_dice, smooth=self.smooth)


@dataclass(frozen=True)
class DiceBinaryCrossEntropy:
    """Of regions that may overlap; the target is (b, regions, *size).

    With `has_ignored` its last channel marks voxels that do not count; as in nnU-Net the
    cross-entropy is then summed over regions and averaged over voxels. `batch_size`, `sums` and
    `smooth` are as for `DiceCrossEntropy`, with `region_sums`.
    """

    batch_dice: bool
    has_ignored: bool = False
    ranks: Ranks = ALONE
    batch_size: int | None = None
    sums: DiceSums = region_sums
    smooth: float = SMOOTH

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice negative."""
        return self.begin(logits, target).end(self.ranks)

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        mask = None
        if self.has_ignored:
            mask = ~target[:, -1:].bool()
            target = target[:, :-1]
        mean = MeanOverRanks(self.ranks, self.batch_size)
        sums = self.sums(logits, target.bool(), mask)
        dice = soft_dice(sums, mean, batch_dice=self.batch_dice, smooth=self.smooth)
        entropy = binary_cross_entropy_with_logits(
            logits,
            target.to(logits.dtype),
            weight=None if mask is None else mask.to(logits.dtype),
            reduction="sum",
        )
        return mean.begin(entropy, target, mask) - dice


@dataclass(frozen=True)
class DiceFocal:
    """Dice with the focal loss of each class against the rest (Lin et al. 2017).

    Targets are as for the other two losses: labels, or with `regions` those, their last channel
    marking voxels that do not count where `ignore_label` is not None. The focal loss is the mean
    over voxels and classes. `background` is whether that of labels counts as a class.
    """

    batch_dice: bool
    gamma: float = 2.0
    squared: bool = False
    background: bool = False
    regions: bool = False
    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both, Dice negative."""
        return self.begin(logits, target).end(self.ranks)

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        mask = None
        if self.regions:
            if self.ignore_label is not None:
                mask, target = ~target[:, -1:].bool(), target[:, :-1]
            truth, probabilities = target.bool(), logits.sigmoid()
        else:
            target = target.long()
            if self.ignore_label is not None:
                mask = target != self.ignore_label
                target = torch.where(mask, target, 0)
            first = 0 if self.background else 1
            truth = _one_hot(target, logits)[:, first:]
            probabilities, logits = logits.softmax(1)[:, first:], logits[:, first:]
        mean = MeanOverRanks(self.ranks, self.batch_size)
        sums = _sums(probabilities, truth, mask, squared=self.squared)
        dice = soft_dice(sums, mean, batch_dice=self.batch_dice)
        signed = torch.where(truth, logits, -logits)
        focal = -torch.exp(self.gamma * logsigmoid(-signed)) * logsigmoid(signed)
        summed = focal.sum() if mask is None else (focal * mask).sum() / focal.shape[1]
        return mean.begin(summed, focal, mask) - dice


@dataclass(frozen=True)
class BegunLoss:
    """A number that awaits sums over all ranks."""

    parts: tuple[Tensor, ...]
    """What is to be summed."""
    finish: Callable[[Sequence[Tensor]], Tensor]
    """From these sums to the number."""

    def __sub__(self, other: "BegunLoss") -> "BegunLoss":
        own = len(self.parts)
        return BegunLoss(
            (*self.parts, *other.parts),
            lambda totals: self.finish(totals[:own]) - other.finish(totals[own:]),
        )

    def __neg__(self) -> "BegunLoss":
        return BegunLoss(self.parts, lambda totals: -self.finish(totals))

    def end(self, ranks: Ranks) -> Tensor:
        """The number, after a reduction for each part."""
        return self.finish([ranks.sum(part) for part in self.parts])


@dataclass(frozen=True)
class MeanOverRanks:
    """What this rank adds to a mean over all ranks; the average over ranks is that mean."""

    ranks: Ranks
    batch_size: int | None
    """Of all ranks together; None where it may differ from batch to batch."""

    def begin(self, total: Tensor, entries: Tensor, mask: Tensor | None = None) -> BegunLoss:
        """Of a sum over all entries (b, ...) of this rank, or over the voxels of a mask."""
        if mask is None:
            return BegunLoss((), lambda _: self.of(total, entries))
        return BegunLoss((mask.sum(),), lambda totals: self._over(total, totals[0]))

    def of(self, total: Tensor, entries: Tensor) -> Tensor:
        """Of a sum over all entries (b, ...) of this rank."""
        if self.batch_size is None or self.ranks.world == 1:
            [everywhere] = self.ranks.total([entries.numel()])
        else:
            everywhere = entries.numel() // len(entries) * self.batch_size
        return total * (self.ranks.world / everywhere)

    def _over(self, total: Tensor, everywhere: Tensor) -> Tensor:
        """Of a sum over so many voxels of all ranks; 0 if there are none. Nothing waits for it."""
        wide = torch.float32 if everywhere.device.type == "mps" else torch.float64
        factor = torch.where(everywhere > 0, self.ranks.world / everywhere.to(wide), 0).float()
        return (total.float() * factor).to(total.dtype)


def soft_dice(
    sums: Tensor, mean: MeanOverRanks, *, batch_dice: bool, smooth: float = SMOOTH
) -> BegunLoss:
    """Mean Dice over classes, and over samples without `batch_dice`; see `DiceSums`.

    `smooth` is added to both sides of each fraction.
    """

    def finish(totals: Sequence[Tensor]) -> Tensor:
        overlap, size, present = totals[0] if batch_dice else sums
        dice = (2 * overlap + smooth) / (present + size + smooth).clip(1e-8)
        return dice.mean() if batch_dice else mean.of(dice.sum(), dice)

    parts = (torch.stack([part.sum(0) for part in sums]),) if batch_dice else ()
    return BegunLoss(parts, finish)


@dataclass(frozen=True)
class DeepSupervision:
    """A loss over several scales, highest resolution first; scales of weight 0 are left out.

    What the scales need of other ranks is summed at once, for losses that can be begun.
    """

    loss: Loss
    weights: tuple[float, ...]

    def __call__(self, logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The weighted sum."""
        scales = [
            (weight, scale, target)
            for weight, scale, target in zip(self.weights, logits, targets, strict=True)
            if weight
        ]
        begin = getattr(self.loss, "begin", None)
        ranks: Ranks = getattr(self.loss, "ranks", ALONE)
        if begin is None or ranks.world == 1:
            losses = [self.loss(scale, target) for _, scale, target in scales]
        else:
            losses = _ended([begin(scale, target) for _, scale, target in scales], ranks)
        weighted = [weight * loss for (weight, _, _), loss in zip(scales, losses, strict=True)]
        return torch.stack(weighted).sum()


def _ended(begun: Sequence[BegunLoss], ranks: Ranks) -> list[Tensor]:
    """The losses, after one reduction for all."""
    parts = [part for loss in begun for part in loss.parts]
    if parts:
        # In double precision counts of voxels are exact.
        packed = ranks.sum(torch.cat([part.flatten().double() for part in parts]))
        pieces = torch.split(packed, [part.numel() for part in parts])
        parts = [
            piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True)
        ]
    losses = []
    for loss in begun:
        losses.append(loss.finish(parts[: len(loss.parts)]))
        parts = parts[len(loss.parts) :]
    return losses


def no_loss(logits: Tensor) -> Tensor:
    """0, whatever the logits are, with a gradient of zeros.

    >>> logits = torch.full((2,), float("inf"), requires_grad=True)
    >>> no_loss(logits).backward()
    >>> logits.grad
    tensor([0., 0.])
    """
    nothing: Tensor = _Nothing.apply(logits)  # type: ignore[no-untyped-call]
    return nothing


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return torch.zeros((), dtype=torch.float32, device=logits.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del gradients
        [logits] = ctx.saved_tensors
        return torch.zeros_like(logits)
