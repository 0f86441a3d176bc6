"""Dice over the patches of the validation, counted as if they were one image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resenc_plans.datasets.labels import Labels


@dataclass(frozen=True)
class Overlap:
    """Voxels per foreground class or region: true positives, false positives, false negatives."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def count_overlap(logits: Tensor, target: Tensor, labels: Labels) -> Overlap:
    """Compare logits (b, heads, *size) with a target as the loss takes it; counts are int64."""
    mask = None
    if labels.has_regions:
        predicted = logits > 0
        if labels.ignore_label is not None:
            mask, target = ~target[:, -1:].bool(), target[:, :-1]
        truth = target.bool()
    else:
        classes = torch.arange(1, logits.shape[1], device=logits.device)
        classes = classes.view(1, -1, *(1,) * (logits.ndim - 2))
        predicted = logits.argmax(1, keepdim=True) == classes
        truth = target == classes
        if labels.ignore_label is not None:
            mask = target != labels.ignore_label
    if mask is not None:
        predicted, truth = predicted & mask, truth & mask
    axes = (0, *range(2, logits.ndim))
    tp, fp, fn = (
        voxels.sum(axes) for voxels in (predicted & truth, predicted & ~truth, ~predicted & truth)
    )
    return Overlap(tp, fp, fn)


def dice_of(tp: Sequence[float], fp: Sequence[float], fn: Sequence[float]) -> tuple[float, ...]:
    """Dice per class; NaN where a class is neither there nor predicted.

    >>> dice_of([1.0, 0.0], [1.0, 0.0], [0.0, 0.0])
    (0.6666666666666666, nan)
    """
    return tuple(
        2 * hit / (2 * hit + wrong + missed) if hit + wrong + missed else float("nan")
        for hit, wrong, missed in zip(tp, fp, fn, strict=True)
    )
