"""Cropping to the region where any channel is nonzero, and marking what lies outside of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.bounding_box import nonzero_box

Mask = npt.NDArray[np.bool_]
Bounds = list[list[int]]
"""Half-open ranges per axis, [[z0, z1], [y0, y1], [x0, x1]], as nnU-Net stores them."""

OUTSIDE = -1
"""The label of background voxels outside the nonzero region."""

SHARE_OF_FEW = 50
"""Growing from the faces stops when one in this many voxels is outside."""


def nonzero_bounds(images: npt.NDArray[Any]) -> Bounds:
    """The smallest box around the nonzero voxels of (c, z, y, x); without any, the whole image."""
    return [[axis.start, axis.stop] for axis in nonzero_box(tuple(images))]


def crop(array: npt.NDArray[Any], bounds: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
    """The part of an array (c, z, y, x) within `bounds`, as a view."""
    return array[(slice(None), *(slice(*ends) for ends in bounds))]


def mark_outside(labels: npt.NDArray[Any], images: npt.NDArray[Any]) -> None:
    """Label background voxels outside the nonzero region -1, in place.

    A voxel is outside where all channels are zero and a path of such voxels (sharing faces) leads
    out of the image; zeros enclosed by nonzero voxels are inside. nnU-Net's `crop_to_nonzero`
    finds the same voxels by filling the holes of the nonzero region.

    Parameters
    ----------
    labels
        Segmentation (z, y, x), cropped.
    images
        The image (c, z, y, x), cropped alike.
    """
    zero = images[0] == 0
    for channel in images[1:]:
        zero &= channel == 0
    outside = _outside(zero)
    for plane, beyond in zip(labels, outside, strict=True):
        plane[beyond & (plane == 0)] = OUTSIDE


def _outside(zero: Mask) -> Mask:
    """The zero voxels (z, y, x) that are connected to the faces of the volume.

    If they are few, as in CT, whose zeros are scattered over the tissue, they are found by
    growing from the faces; if they are many, as in MR with the background removed, by numbering all
    regions.
    """
    few = zero.size // SHARE_OF_FEW
    padded = np.pad(zero, 1)
    outside = np.zeros_like(padded)
    inner = (slice(1, -1),) * 3
    for axis in range(3):
        for end in (0, -1):
            face = [slice(None)] * 3
            face[axis] = slice(end, end + 1 or None)
            outside[inner][tuple(face)] = zero[tuple(face)]
    grown = np.flatnonzero(outside)
    outside_count = grown.size
    steps = np.array([sign * step for step in _steps(padded.shape) for sign in (-1, 1)])
    while grown.size and outside_count <= few:
        neighbours = (grown[:, None] + steps).ravel()
        is_new = padded.ravel()[neighbours] & ~outside.ravel()[neighbours]
        grown = np.unique(neighbours[is_new])
        outside.ravel()[grown] = True
        outside_count += grown.size
    return outside[inner] if not grown.size else _outside_by_regions(zero)


def _steps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """How far apart neighbours along each axis are in the array laid flat."""
    return shape[1] * shape[2], shape[2], 1


def _outside_by_regions(zero: Mask) -> Mask:
    from scipy.ndimage import label

    regions, count = label(zero)
    reaches_out = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            reaches_out[np.take(regions, end, axis)] = True
    reaches_out[0] = False
    outside: Mask = reaches_out[regions]
    return outside
