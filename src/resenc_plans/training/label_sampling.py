"""Rotating and scaling segmentations: batchgeneratorsv2's result at a fraction of the work.

batchgeneratorsv2 samples the indicator of every label at every point and takes the largest. Where
the voxels around a point all have one label, that label it is; only where labels meet are the
indicators sampled. The scores there are the same numbers, and so are the labels.
"""

from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from torch import Tensor
from torch.nn.functional import grid_sample, pad

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
        (z, y, x) or (y, x), int16.
    grid
        (*size, axes) as `torch.nn.functional.grid_sample` takes it, `align_corners` False.
    outside
        The label beyond the edges.
    """
    several = torch.iinfo(segmentation.dtype).max
    cells = _cells(segmentation, outside, several)
    # Voxels i - 1 and i are corners of cell i: of cells there is one more than of voxels.
    shrink = [length / (length + 1) for length in reversed(segmentation.shape)]
    found = _at_points((cells - outside).float(), grid * torch.tensor(shrink), "nearest")
    result = found.add_(outside).to(segmentation.dtype)
    mixed = result == several
    if mixed.any():
        result[mixed] = _likeliest(segmentation, grid[mixed], outside)
    return result


def _cells(segmentation: Tensor, outside: int, mixed: int) -> Tensor:
    """The label that all corners of a cell have, or `mixed`."""
    cells = pad(segmentation, (1, 1) * segmentation.ndim, value=outside)
    for axis, length in enumerate(segmentation.shape):
        lower, upper = cells.narrow(axis, 0, length + 1), cells.narrow(axis, 1, length + 1)
        cells = torch.where(lower == upper, lower, mixed)
    return cells


def _likeliest(segmentation: Tensor, points: Tensor, outside: int) -> Tensor:
    """The label with the largest score at some points (n, axes)."""
    labels = _present(segmentation, outside)
    scores = torch.empty((len(labels), len(points)), dtype=torch.float16)
    indicator = torch.empty(segmentation.shape)
    for score, label in zip(scores, labels, strict=True):
        torch.eq(segmentation, label, out=indicator)
        beyond = SCALE if int(label) == outside else 0
        sampled = _at_points(indicator.mul_(SCALE).sub_(beyond), points, "bilinear")
        score.copy_(sampled.add_(beyond))
    best, winner = scores.max(0)
    result = labels[winner]
    tied = (scores == best).sum(0) > 1
    if tied.any():
        shifted = (segmentation - outside).float()
        nearest = _at_points(shifted, points[tied], "nearest").to(labels.dtype) + outside
        score = scores[:, tied].gather(0, torch.searchsorted(labels, nearest)[None])[0]
        result[tied] = torch.where(score == best[tied], nearest, result[tied])
    return result


def _present(segmentation: Tensor, outside: int) -> Tensor:
    """The labels that there are, `outside` too, in rising order."""
    lowest = min(int(segmentation.min()), outside)
    counts = torch.bincount((segmentation.int() - lowest).flatten(), minlength=outside - lowest + 1)
    counts[outside - lowest] += 1
    return (counts.nonzero().flatten() + lowest).to(segmentation.dtype)


def _at_points(image: Tensor, points: Tensor, mode: str) -> Tensor:
    """An image's values at points (*size, axes), 0 beyond its edges."""
    axes = image.ndim
    grid = points.reshape(1, *(1,) * (axes + 1 - points.ndim), *points.shape)
    values = grid_sample(
        image[None, None], grid, mode=mode, padding_mode="zeros", align_corners=False
    )
    return values.reshape(points.shape[:-1])
