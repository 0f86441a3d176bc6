"""Rotating and scaling segmentations: batchgeneratorsv2's result, all labels sampled at once.

batchgeneratorsv2 samples the indicator of each label by itself, so that where eight corners lie and
how they weigh is computed once per label. Here the indicators are channels of one image. The scores
are the same numbers, and so are the labels.
"""

from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from torch import Tensor
from torch.nn.functional import grid_sample

SCALE = 1000
"""Scores are kept in float16 at this size, whose spacing turns near ties into ties, as there."""


class LabelwiseSpatialTransform(SpatialTransform):  # type: ignore[misc]
    """`SpatialTransform` with `padding_value_seg` around the labels, and ties to the nearest."""

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        grid = params["grid"]
        if grid is None:
            cropped: Tensor = super()._apply_to_segmentation(segmentation, **params)
            return cropped
        outside = int(self.padding_value_seg)
        return torch.stack([sample_labels(channel, grid, outside) for channel in segmentation])


def sample_labels(segmentation: Tensor, grid: Tensor, outside: int) -> Tensor:
    """The label with the largest linearly interpolated indicator, at each point of a grid.

    Parameters
    ----------
    segmentation
        (z, y, x) or (y, x), integer.
    grid
        (*size, axes) as `torch.nn.functional.grid_sample` takes it, `align_corners` False.
    outside
        The label beyond the edges.
    """
    lowest = min(int(segmentation.min()), outside)
    counts = torch.bincount((segmentation.int() - lowest).flatten())
    counts = torch.nn.functional.pad(counts, (0, max(0, outside - lowest + 1 - len(counts))))
    counts[outside - lowest] += 1
    labels = (counts.nonzero().flatten() + lowest).to(segmentation.dtype)
    if len(labels) == 1:
        return segmentation.new_full(grid.shape[:-1], int(labels))
    shape = (-1, *(1,) * segmentation.ndim)
    values = labels.view(shape)
    beyond = (values == outside).float()
    indicators = (segmentation == values).float().sub_(beyond).mul_(SCALE)
    scores = grid_sample(
        indicators[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
    scores = scores.add_(beyond, alpha=SCALE).half()
    best, winner = scores.max(0)
    result = labels[winner]
    tied = (scores == best).sum(0) > 1
    if tied.any():
        nearest = _nearest(segmentation, grid[tied], outside)
        score = scores[:, tied].gather(0, torch.searchsorted(labels, nearest)[None])[0]
        result[tied] = torch.where(score == best[tied], nearest, result[tied])
    return result.to(segmentation.dtype)


def _nearest(segmentation: Tensor, points: Tensor, outside: int) -> Tensor:
    """The nearest neighbour's label at some points (n, axes)."""
    grid = points.view(1, *(1,) * (segmentation.ndim - 1), *points.shape)
    shifted = (segmentation - outside).float()
    found = grid_sample(
        shifted[None, None], grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    labels: Tensor = found.flatten().to(segmentation.dtype) + outside
    return labels
