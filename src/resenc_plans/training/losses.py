"""nnU-Net 2.8.1's losses: Dice with cross-entropy, binary where there are regions; and others'.

`DC_and_CE_loss` and `DC_and_BCE_loss` with `MemoryEfficientSoftDiceLoss`. With a squared
denominator, with the background, and with the focal loss they are MONAI's `DiceCELoss` and
`DiceFocalLoss`, with minus the Dice instead of 1 minus it. Each of the two may stand alone, and
the cross-entropy may be that of the worst voxels, as in `TopKLoss`. Means are taken over the global
batch: each rank divides its sums by the counts of all ranks, so that the average of the ranks'
gradients is the gradient of one process that had the whole batch. Several ranks exchange all that
one step needs of one another at once: a loss is begun, and ended when their sums are known.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
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


def known_labels(target: Tensor, ignore_label: int | None) -> tuple[Tensor, Tensor | None]:
    """A target (b, 1, *size) as int64, 0 where ignored, and the mask of those that count.

    The mask has the same shape; it is None where all voxels count.
    """
    target = target.long()
    if ignore_label is None:
        return target, None
    mask = target != ignore_label
    return torch.where(mask, target, 0), mask


def known_regions(target: Tensor, *, has_ignored: bool) -> tuple[Tensor, Tensor | None]:
    """The regions of a target (b, regions, *size) as bool; the mask of voxels that count.

    With `has_ignored` the target has a further channel, which marks those that do not; the mask is
    (b, 1, *size), and None without.
    """
    if not has_ignored:
        return target.bool(), None
    return target[:, :-1].bool(), ~target[:, -1:].bool()


class LossOverRanks(ABC):
    """A loss whose means are taken over the batch of all ranks together."""

    ranks: Ranks
    """Those that it is for."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """What this rank adds: the average over ranks is the loss."""
        return self.begin(logits, target).end(self.ranks).own

    @abstractmethod
    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""


@dataclass(frozen=True)
class DiceCrossEntropy(LossOverRanks):
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

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        known, mask = known_labels(target, self.ignore_label)
        mean = MeanOverRanks(self.ranks, self.batch_size)
        dice = soft_dice(
            self.sums(logits, known, mask), mean, batch_dice=self.batch_dice, smooth=self.smooth
        )
        entropy = CrossEntropy(self.ignore_label, self.ranks, self.batch_size, self.worst_share)
        return entropy.begin(logits, target) - dice


@dataclass(frozen=True)
class CrossEntropy(LossOverRanks):
    """Of exclusive labels; target, `ignore_label` and `batch_size` are as in `DiceCrossEntropy`.

    With a `worst_share` below 1 the mean is over that share of the voxels of a rank, those where it
    is highest; ignored ones count as voxels where it is 0, as in nnU-Net.
    """

    ignore_label: int | None = None
    ranks: Ranks = ALONE
    batch_size: int | None = None
    worst_share: float = 1.0
    label_smoothing: float = 0.0

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
class Dice(LossOverRanks):
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

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        if self.regions:
            known, mask = known_regions(target, has_ignored=self.ignore_label is not None)
        else:
            known, mask = known_labels(target, self.ignore_label)
        mean, sums = MeanOverRanks(self.ranks, self.batch_size), self.sums(logits, known, mask)
        return -soft_dice(sums, mean, batch_dice=self.batch_dice, smooth=self.smooth)


@dataclass(frozen=True)
class DiceBinaryCrossEntropy(LossOverRanks):
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

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        known, mask = known_regions(target, has_ignored=self.has_ignored)
        mean = MeanOverRanks(self.ranks, self.batch_size)
        sums = self.sums(logits, known, mask)
        dice = soft_dice(sums, mean, batch_dice=self.batch_dice, smooth=self.smooth)
        entropy = binary_cross_entropy_with_logits(
            logits,
            known.to(logits.dtype),
            weight=None if mask is None else mask.to(logits.dtype),
            reduction="sum",
        )
        return mean.begin(entropy, known, mask) - dice


@dataclass(frozen=True)
class DiceFocal(LossOverRanks):
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

    def begin(self, logits: Tensor, target: Tensor) -> "BegunLoss":
        """What precedes the reduction over ranks."""
        if self.regions:
            truth, mask = known_regions(target, has_ignored=self.ignore_label is not None)
            probabilities = logits.sigmoid()
        else:
            known, mask = known_labels(target, self.ignore_label)
            first = 0 if self.background else 1
            truth = _one_hot(known, logits)[:, first:]
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

    own: tuple[Tensor, ...]
    """What this rank adds to it; the number is linear in these."""
    parts: tuple[Tensor, ...]
    """What is to be summed over all ranks."""
    finish: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
    """From `own` and the sums of `parts` to the number."""

    def __sub__(self, other: "BegunLoss") -> "BegunLoss":
        return BegunLoss.weighted([self, other], [1, -1])

    def __neg__(self) -> "BegunLoss":
        return BegunLoss.weighted([self], [-1])

    @classmethod
    def of_a_rank(cls, loss: Tensor) -> "BegunLoss":
        """Of a loss that needs nothing of other ranks."""
        return cls((loss,), (), lambda own, _: own[0])

    @classmethod
    def weighted(cls, losses: Sequence["BegunLoss"], weights: Sequence[float]) -> "BegunLoss":
        """The weighted sum."""

        def finish(own: Sequence[Tensor], totals: Sequence[Tensor]) -> Tensor:
            owns, sums = iter(own), iter(totals)
            finished = [
                weight
                * loss.finish(
                    list(islice(owns, len(loss.own))), list(islice(sums, len(loss.parts)))
                )
                for weight, loss in zip(weights, losses, strict=True)
            ]
            return torch.stack(finished).sum()

        return cls(
            tuple(one for loss in losses for one in loss.own),
            tuple(part for loss in losses for part in loss.parts),
            finish,
        )

    def end(self, ranks: Ranks, *, stops: bool = False) -> "EndedLoss":
        """The number, after one reduction, which also tells others whether this rank is to stop."""
        if ranks.world == 1:
            loss = self.finish(self.own, self.parts)
            return EndedLoss(loss, loss.detach(), torch.full_like(loss.detach(), stops))
        flag = torch.full((), stops, device=ranks.device)
        packed = (*self.parts, *(one.detach() for one in self.own), flag)
        # In double precision counts of voxels are exact.
        summed = ranks.sum(torch.cat([part.flatten().double() for part in packed]))
        pieces = torch.split(summed, [part.numel() for part in packed])
        totals = [
            piece.view(part.shape).to(part.dtype)
            for piece, part in zip(pieces[: len(self.parts)], self.parts, strict=True)
        ]
        with torch.no_grad():
            mean = [piece.view(()) / ranks.world for piece in pieces[len(self.parts) : -1]]
            mean_loss = self.finish(mean, totals)
        return EndedLoss(self.finish(self.own, totals), mean_loss, pieces[-1].detach().view(()))


@dataclass(frozen=True)
class EndedLoss:
    """A loss that all ranks know. Scalars on the device."""

    own: Tensor
    """What this rank adds, through which gradients flow; the average over ranks is `mean`."""
    mean: Tensor
    """Not finite if what any rank adds is not."""
    stopping: Tensor
    """How many ranks are to stop."""


@dataclass(frozen=True)
class MeanOverRanks:
    """What this rank adds to a mean over all ranks; the average over ranks is that mean."""

    ranks: Ranks
    batch_size: int | None
    """Of all ranks together; None where it may differ from batch to batch."""

    def begin(self, total: Tensor, entries: Tensor, mask: Tensor | None = None) -> BegunLoss:
        """Of a sum over all entries (b, ...) of this rank, or over the voxels of a mask."""
        if mask is not None:
            return self._over(total, mask.sum())
        if self.ranks.world == 1:
            everywhere = entries.numel()
        elif self.batch_size is not None:
            everywhere = entries.numel() // len(entries) * self.batch_size
        else:
            return self._over(total, torch.full((), entries.numel(), device=total.device))
        return BegunLoss.of_a_rank(total * (self.ranks.world / everywhere))

    def _over(self, total: Tensor, count: Tensor) -> BegunLoss:
        """Of a sum over so many voxels of this rank; 0 if none has any. Nothing waits for it."""
        wide = torch.float32 if count.device.type == "mps" else torch.float64

        def finish(own: Sequence[Tensor], totals: Sequence[Tensor]) -> Tensor:
            [everywhere], [summed] = totals, own
            factor = torch.where(everywhere > 0, self.ranks.world / everywhere.to(wide), 0).float()
            return (summed.float() * factor).to(summed.dtype)

        return BegunLoss((total,), (count,), finish)


def soft_dice(
    sums: Tensor, mean: MeanOverRanks, *, batch_dice: bool, smooth: float = SMOOTH
) -> BegunLoss:
    """Mean Dice over classes, and over samples without `batch_dice`; see `DiceSums`.

    `smooth` is added to both sides of each fraction.
    """

    def dice(overlap: Tensor, size: Tensor, present: Tensor) -> Tensor:
        return (2 * overlap + smooth) / (present + size + smooth).clip(1e-8)

    if not batch_dice:
        of_samples = dice(*sums)
        return mean.begin(of_samples.sum(), of_samples)
    of_batch = torch.stack([part.sum(0) for part in sums])
    return BegunLoss((), (of_batch,), lambda _, totals: dice(*totals[0]).mean())


@dataclass(frozen=True)
class DeepSupervision:
    """A loss over several scales, highest resolution first; scales of weight 0 are left out.

    What all scales need of other ranks is summed at once. A loss that is no `LossOverRanks` is
    taken for that of this rank alone.
    """

    loss: Loss
    weights: tuple[float, ...]
    ranks: Ranks = ALONE

    def __call__(
        self, logits: Sequence[Tensor], targets: Sequence[Tensor], *, stops: bool = False
    ) -> EndedLoss:
        """The weighted sum; `stops` is whether this rank is to stop."""
        begun = [
            self._begin(scale, target)
            for weight, scale, target in zip(self.weights, logits, targets, strict=True)
            if weight
        ]
        weights = [weight for weight in self.weights if weight]
        return BegunLoss.weighted(begun, weights).end(self.ranks, stops=stops)

    def _begin(self, logits: Tensor, target: Tensor) -> BegunLoss:
        if isinstance(self.loss, LossOverRanks):
            return self.loss.begin(logits, target)
        return BegunLoss.of_a_rank(self.loss(logits, target))


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
