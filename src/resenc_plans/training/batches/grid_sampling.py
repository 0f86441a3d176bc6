"""Rotating and scaling on any device, from the numbers of an affine; nothing waits for the device.

Points, images and labels are those of batchgeneratorsv2's `SpatialTransform` on the CPU.
"""

from collections.abc import Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from resenc_plans.training.batches.label_sampling import SCALE

POINTS_ON_CPU = 1 << 15
"""Points whose labels are found at once on a CPU, so that the intermediate results stay in its
cache."""
POINTS = 1 << 22
"""Points at once on other devices."""


def affine_grid(
    affine: Sequence[Sequence[float]],
    size: Sequence[int],
    read_size: Sequence[int],
    device: torch.device,
    *,
    ends: bool = False,
) -> Tensor:
    """The points (*size, axes) of a patch in what was read, as `grid_sample` takes them.

    With `ends`, only the first and the last of each axis. Sums are rounded after each term, as the
    matrix product on a CPU rounds them.
    """
    wide = torch.float32 if device.type == "mps" else torch.float64
    axes = []
    for along, length in enumerate(size):
        step = max(1, length - 1) if ends else 1
        centred = torch.arange(0, length, step, device=device, dtype=wide) - (length - 1) / 2
        axes.append(centred.reshape([-1 if axis == along else 1 for axis in range(len(size))]))
    shape = [axis.numel() for axis in axes]
    points = []
    for row, read in zip(affine, read_size, strict=True):
        point = (axes[0] * row[0]).to(torch.float32)
        for factor, axis in zip(row[1:], axes[1:], strict=True):
            point = (point.to(wide) + axis * factor).to(torch.float32)
        points.append((point / (read / 2)).expand(shape))
    return torch.stack(points[::-1], -1)


def margins_around(
    first: Sequence[int], shape: Sequence[int], read_size: Sequence[int]
) -> list[int]:
    """What lies around a region of what was read, for `pad`; `first` is where the region begins."""
    margins: list[int] = []
    for start, length, read in zip(first, shape, read_size, strict=True):
        margins = [start, read - start - length, *margins]
    return margins


def sample_image(
    region: Tensor, grid: Tensor, first: Sequence[int], read_size: Sequence[int]
) -> Tensor:
    """Linear interpolation of a region (c, *shape) of what was read, 0 outside, at a grid."""
    # In its place among what was read, a point has the coordinates that it has on the CPU.
    image = pad(region, margins_around(first, region.shape[1:], read_size))
    return grid_sample(
        image[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]


def sample_at_corners(
    region: Tensor,
    grid: Tensor,
    first: Sequence[int],
    read_size: Sequence[int],
    outside: int,
) -> Tensor:
    """As `sample_labels`, for all channels of a region (c, *shape), without reading values.

    The score of a label at a point is the sum of the weights of those corners that have it. Up to
    the rounding of these sums, the labels are the same.
    """
    flat = grid.reshape(-1, grid.shape[-1])
    at_once = POINTS_ON_CPU if grid.device.type == "cpu" else POINTS
    padded = pad(region, (2, 2) * (region.ndim - 1), value=outside)
    parts = [_labels_at(padded, points, first, read_size) for points in torch.split(flat, at_once)]
    return torch.cat(parts, 1).reshape(len(region), *grid.shape[:-1])


def _labels_at(
    padded: Tensor, points: Tensor, first: Sequence[int], read_size: Sequence[int]
) -> Tensor:
    """Labels (c, n) at points (n, axes), of a region with two more voxels at each edge."""
    shape = padded.shape[1:]
    weights: list[tuple[Tensor, Tensor]] = []
    nearest = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    index = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    for axis, (length, read, start) in enumerate(zip(shape, read_size, first, strict=True)):
        point = ((points[:, -1 - axis] + 1) * read - 1) / 2
        lower = point.floor()
        share = point - lower
        rounded = point.round() - lower
        position = (lower - (start - 2)).clamp(0, length - 2)
        index += position.long() * strides[axis]
        nearest = nearest * 2 + rounded.long()
        weights.append((1 - share, share))
    labels, scores, corners = padded.flatten(1), [], []
    for corner in product((0, 1), repeat=len(shape)):
        offset = sum(step * stride for step, stride in zip(corner, strides, strict=True))
        corners.append(labels.index_select(1, index + offset))
        weight = weights[0][corner[0]]
        for axis in range(1, len(shape)):
            weight = weight * weights[axis][corner[axis]]
        scores.append(weight)
    stacked = torch.stack(corners)
    totals = torch.stack([score.expand(len(padded), -1) for score in scores])
    for one in range(len(corners)):
        for other in range(one + 1, len(corners)):
            same = corners[one] == corners[other]
            totals[one] += same * scores[other]
            totals[other] += same * scores[one]
    totals = (totals * SCALE).to(torch.float16)
    best = totals.amax(0)
    largest = torch.iinfo(padded.dtype).max
    lowest = torch.where(totals == best, stacked, largest).amin(0)
    index_of_nearest = nearest.expand(1, len(padded), -1)
    at_nearest = stacked.gather(0, index_of_nearest)[0]
    is_best = totals.gather(0, index_of_nearest)[0] == best
    return torch.where(is_best, at_nearest, lowest)
