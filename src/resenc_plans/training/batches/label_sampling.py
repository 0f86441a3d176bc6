"""Rotating and scaling segmentations: batchgeneratorsv2's result at a fraction of the work.

batchgeneratorsv2 samples the indicator of every label at every point and takes the largest. Where
the voxels around a point all have one label, that label it is; only where labels meet are the
indicators sampled. The scores there are the same numbers, and so are the labels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from torch import Tensor
from torch.nn.functional import grid_sample, pad

SCALE = 1000
"""Scores are kept in float16 at this size, whose spacing turns near ties into ties, as there."""


class LabelwiseSpatialTransform(SpatialTransform):  # type: ignore[misc]
    """`SpatialTransform` with `padding_value_seg` around the labels, and ties to the nearest.

    With the parameter `part`, a slice per axis, only that part of a segmentation is looked at; it
    lies in the middle and contains all voxels around the points of the grid.
    """

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        grid = params["grid"]
        if grid is None or self.mode_seg == "nearest":
            sampled: Tensor = super()._apply_to_segmentation(segmentation, **params)
            return sampled
        outside, part = int(self.padding_value_seg), params.get("part")
        return torch.stack(
            [sample_labels(channel, grid, outside, part) for channel in segmentation]
        )


def sample_labels(
    segmentation: Tensor, grid: Tensor, outside: int, part: Sequence[slice] | None = None
) -> Tensor:
    """The label with the largest linearly interpolated indicator, at each point of a grid.

    Parameters
    ----------
    segmentation
        (z, y, x) or (y, x), int16.
    grid
        (*size, axes) as `torch.nn.functional.grid_sample` takes it, `align_corners` False.
    outside
        The label beyond the edges.
    part
        Where around the middle of the segmentation all voxels lie that the grid needs.
    """
    part = tuple(part or (slice(None),) * segmentation.ndim)
    several = torch.iinfo(segmentation.dtype).max
    cells = _cells(segmentation[part], outside, several)
    lengths = zip(reversed(segmentation.shape), reversed(cells.shape), strict=True)
    to_cells = torch.tensor([voxels / cells for voxels, cells in lengths])
    sampled = _at_points((cells - outside).float(), grid * to_cells, "nearest")
    result = sampled.add_(outside).to(segmentation.dtype)
    mixed = result == several
    if mixed.any():
        result[mixed] = _likeliest(segmentation, grid[mixed], outside, part)
    return result


def _cells(segmentation: Tensor, outside: int, mixed: int) -> Tensor:
    """The label that all corners of a cell have, or `mixed`.

    Voxels i - 1 and i are corners of cell i, so that there is one more cell than there are voxels.
    """
    cells = pad(segmentation, (1, 1) * segmentation.ndim, value=outside)
    for axis, length in enumerate(segmentation.shape):
        lower, upper = cells.narrow(axis, 0, length + 1), cells.narrow(axis, 1, length + 1)
        cells = torch.where(lower == upper, lower, mixed)
    return cells


def _likeliest(
    segmentation: Tensor, points: Tensor, outside: int, part: tuple[slice, ...]
) -> Tensor:
    """The label with the largest score at some points (n, axes)."""
    looked_at = segmentation[part]
    labels = _present(looked_at, outside)
    scores = torch.empty((len(labels), len(points)), dtype=torch.float16)
    image = torch.zeros(segmentation.shape)
    values = image[part]
    for score, label in zip(scores, labels, strict=True):
        torch.eq(looked_at, label, out=values)
        beyond = SCALE if int(label) == outside else 0
        values.mul_(SCALE).sub_(beyond)
        score.copy_(_at_points(image, points, "bilinear").add_(beyond))
    best, winner = scores.max(0)
    result = labels[winner]
    tied = (scores == best).sum(0) > 1
    if tied.any():
        values.copy_(looked_at - outside)
        nearest = _at_points(image, points[tied], "nearest").to(labels.dtype) + outside
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
