"""Cropping to the region where any channel is nonzero, and marking what lies outside of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.bounding_box import nonzero_box

Mask = npt.NDArray[np.bool_]
Numbered = npt.NDArray[np.int32]
Bounds = list[list[int]]
"""Half-open ranges per axis, [[z0, z1], [y0, y1], [x0, x1]], as nnU-Net stores them."""

OUTSIDE = -1
"""The label of background voxels outside the nonzero region."""


def nonzero_bounds(images: npt.NDArray[Any]) -> Bounds:
    """The smallest box around the nonzero voxels of (c, z, y, x); all of it without any."""
    return [[axis.start, axis.stop] for axis in nonzero_box(tuple(images))]


def crop(array: npt.NDArray[Any], bounds: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
    """The part of an array (c, z, y, x) within `bounds`, as a view."""
    return array[(slice(None), *(slice(*ends) for ends in bounds))]


def mark_outside(labels: npt.NDArray[Any], images: npt.NDArray[Any]) -> None:
    """Label background voxels outside the nonzero region -1, in place.

    A voxel is outside where all channels are zero and a path of such voxels (sharing faces) leads
    out of the image; zeros enclosed by nonzero voxels are inside. This is what nnU-Net's
    `crop_to_nonzero` makes of scipy's `binary_fill_holes`. Planes are labelled one by one and
    joined by a graph, which is faster than growing the outside voxel by voxel.

    Parameters
    ----------
    labels
        Segmentation (z, y, x), cropped.
    images
        The image (c, z, y, x), cropped alike.
    """
    regions = [_zero_regions(images[:, z]) for z in range(images.shape[1])]
    if not any(count for _, count in regions):
        return
    reaches_out = _regions_reaching_out(regions)
    first = 0
    for plane, (numbered, count) in zip(labels, regions, strict=True):
        if count:
            outside = np.concatenate(([False], reaches_out[first : first + count]))[numbered]
            plane[outside & (plane == 0)] = OUTSIDE
        first += count


def _zero_regions(planes: npt.NDArray[Any]) -> tuple[Numbered, int]:
    """Number the connected zero regions of one plane (c, y, x) from 1; nonzero voxels get 0."""
    zero = planes[0] == 0
    for channel in planes[1:]:
        zero &= channel == 0
    if not zero.any():
        return np.zeros((1, 1), np.int32), 0
    from scipy.ndimage import label

    numbered, count = label(zero)
    return np.asarray(numbered, np.int32), int(count)


def _regions_reaching_out(regions: list[tuple[Numbered, int]]) -> Mask:
    """Which of all planes' zero regions, numbered through, are connected to the outside."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    total = sum(count for _, count in regions)
    at_border = np.zeros(total, np.bool_)
    upper, lower = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first = 0
    previous: tuple[Numbered, int] | None = None
    for z, (numbered, count) in enumerate(regions):
        if not count:
            previous = None
            continue
        rim = [numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]]
        if z in (0, len(regions) - 1):
            rim.append(numbered.ravel())
        touched = np.concatenate(rim)
        at_border[first - 1 + touched[touched > 0]] = True
        if previous is not None:
            above, below = _touching(previous[0], numbered)
            upper.append(above + (previous[1] - 1))
            lower.append(below + (first - 1))
        previous = numbered, first
        first += count
    edges = (np.concatenate(upper), np.concatenate(lower))
    graph = coo_array((np.ones(len(edges[0]), np.int32), edges), shape=(total, total))
    groups, group = connected_components(graph, directed=False)
    group_is_outside = np.zeros(groups, np.bool_)
    group_is_outside[group[at_border]] = True
    reaches_out: Mask = group_is_outside[group]
    return reaches_out


def _touching(
    above: Numbered, below: Numbered
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of the regions of two neighbouring planes that share a face, as pairs."""
    both = np.flatnonzero((above > 0) & (below > 0))
    first, second = above.ravel()[both], below.ravel()[both]
    changes = np.ones(len(both), np.bool_)
    changes[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[changes].astype(np.int64), second[changes].astype(np.int64)
