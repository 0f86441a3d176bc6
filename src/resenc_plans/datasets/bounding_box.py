"""The smallest box around all nonzero voxels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]

_STRIP = 16


def nonzero_box(volumes: Sequence[NDArray[Any]]) -> Box:
    """The box around the voxels where any of the volumes `(z, y, x)` is not zero.

    nnU-Net (`crop_to_nonzero`) takes the box of the mask with its holes filled. That is the same
    box, so nothing is filled here, and only the margins are read. The box of an image that is zero
    everywhere is the whole image, as in nnU-Net.

    >>> volume = np.zeros((4, 5, 6))
    >>> volume[1:3, 2, 4] = 7
    >>> nonzero_box([volume])
    (slice(1, 3, None), slice(2, 3, None), slice(4, 5, None))
    """
    boxes = [box for volume in volumes if (box := _box(volume)) is not None]
    if not boxes:
        depth, height, width = volumes[0].shape
        return slice(0, depth), slice(0, height), slice(0, width)
    z, y, x = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )
    return z, y, x


def _box(volume: NDArray[Any]) -> Box | None:
    slices: list[slice] = []
    for axis in range(3):
        inner = np.moveaxis(volume[tuple(slices)], axis, 0)
        start = _empty_planes(inner)
        if start == len(inner):
            return None
        slices.append(slice(start, len(inner) - _empty_planes(inner[::-1])))
    z, y, x = slices
    return z, y, x


def _empty_planes(volume: NDArray[Any]) -> int:
    """How many planes at the start of the first axis are zero everywhere."""
    for start in range(0, len(volume), _STRIP):
        occupied = volume[start : start + _STRIP].any(axis=(1, 2))
        if occupied.any():
            return start + int(occupied.argmax())
    return len(volume)
