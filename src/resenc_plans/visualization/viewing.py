"""What to show of a volume: its orientation, planes and grey values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIDES = (("S", "I"), ("A", "P"), ("R", "L"))
"""What lies at the start and the end of the axes z, y, x once they are oriented."""

_WINDOW = (0.5, 99.5)
"""Percentiles of the voxels near the segmentation that are shown black and white."""
_SAMPLES = 2_000_000
"""Number of voxels, about, that percentiles are taken of."""


@dataclass(frozen=True)
class ViewOrientation:
    """How axes are permuted and flipped so that z runs down, y to the back and x to the left."""

    order: tuple[int, int, int]
    """The axes of the file in the order in which they are shown."""
    flips: tuple[bool, bool, bool]
    """Whether each axis is reversed, in the new order."""

    @classmethod
    def of(cls, direction: Sequence[float] | None) -> "ViewOrientation":
        """From a header's nine direction cosines, as SimpleITK gives them (x, y, z; LPS).

        Without them the first plane is at the bottom, and rows and columns stay as they are.

        >>> ViewOrientation.of((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        ViewOrientation(order=(0, 1, 2), flips=(True, True, True))
        """
        if direction is None or len(direction) != 9:
            return cls((0, 1, 2), (True, False, False))
        cosines = np.asarray(direction, float).reshape(3, 3)[::-1, ::-1]
        remaining, order, flips = [0, 1, 2], [], []
        for axis in range(3):
            best = max(remaining, key=lambda a: abs(cosines[axis, a]))
            remaining.remove(best)
            order.append(best)
            flips.append(bool(cosines[axis, best] < 0) != (axis == 0))
        return cls((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))

    def apply(self, array: Array) -> Array:
        """A view of an array `(z, y, x)` of the file as it is shown."""
        oriented: Array = np.flip(
            array.transpose(self.order), tuple(a for a in range(3) if self.flips[a])
        )
        return oriented

    def spacing(self, spacing: Sequence[float]) -> tuple[float, float, float]:
        """Voxel sizes (mm, along the file's z, y, x) in the order in which the axes are shown."""
        a, b, c = (float(spacing[axis]) for axis in self.order)
        return a, b, c


@dataclass(frozen=True)
class Foreground:
    """The foreground of a segmentation: how large each label is, and where to look at it."""

    sizes: dict[int, int]
    """Number of voxels of each label, by rising label."""
    planes: tuple[int, int, int]
    """For each axis the plane with the most labels, and of these the nearest to their centre; the
    middle plane without foreground."""


def locate_foreground(labels: Array) -> Foreground:
    """Find the foreground of a segmentation `(z, y, x)` in one pass over it.

    >>> labels = np.zeros((5, 5, 5), int)
    >>> labels[1:4, 2, 2] = 1
    >>> labels[3, 4, 2] = 2
    >>> locate_foreground(labels)
    Foreground(sizes={1: 3, 2: 1}, planes=(3, 2, 2))
    """
    per_plane: dict[int, tuple[NDArray[np.int64], ...]] = {}
    for z, plane in enumerate(labels):
        for value in np.nonzero(np.bincount(_values(plane)))[0].tolist():
            if value != 0:
                voxels = per_plane.setdefault(
                    value, tuple(np.zeros(size, np.int64) for size in labels.shape)
                )
                mask = plane == value
                rows = mask.sum(axis=1)
                voxels[0][z] = rows.sum()
                voxels[1][:] += rows
                voxels[2][:] += mask.sum(axis=0)
    sizes = {value: int(per_plane[value][0].sum()) for value in sorted(per_plane)}
    a, b, c = (
        _most_informative_plane([voxels[axis] for voxels in per_plane.values()], labels.shape[axis])
        for axis in range(3)
    )
    return Foreground(sizes, (a, b, c))


def _most_informative_plane(voxels: Sequence[NDArray[np.int64]], length: int) -> int:
    """The plane to show across an axis, from the voxels per plane of each label."""
    if not voxels:
        return length // 2
    along = np.stack(voxels)
    labels_in_plane = np.count_nonzero(along, axis=0)
    centre = np.average(np.arange(length), weights=along.sum(axis=0))
    (best,) = np.nonzero(labels_in_plane == labels_in_plane.max())
    return int(best[np.argmin(abs(best - centre))])


def grey_window(volume: Array, labels: Array, spacing: Sequence[float]) -> tuple[float, float]:
    """The values to show black and white: percentiles of the voxels near the segmentation.

    `volume` and `labels` are `(z, y, x)`, `spacing` is in mm. Near is within half the extent of the
    foreground, at least 3 cm; without foreground the whole image counts.
    """
    box = []
    for axis in range(3):
        filled = np.nonzero((labels != 0).any(axis=tuple(a for a in range(3) if a != axis)))[0]
        if not filled.size:
            box = [slice(None)] * 3
            break
        margin = max((filled[-1] - filled[0]) // 2, int(30 / spacing[axis]), 2)
        box.append(slice(max(0, int(filled[0] - margin)), int(filled[-1] + margin + 1)))
    nearby = volume[tuple(box)].reshape(-1)
    low, high = np.percentile(nearby[:: max(1, nearby.size // _SAMPLES)], _WINDOW)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _values(plane: Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = plane.reshape(-1).astype(np.int64).clip(0)
    return values
