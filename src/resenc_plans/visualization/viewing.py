"""What to show of a volume: which way round, which planes, which grey values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIDES = (("S", "I"), ("A", "P"), ("R", "L"))
"""What lies at the start and the end of the axes z, y, x once they are turned to be shown."""

_WINDOW = (0.5, 99.5)
"""Percentiles of the voxels around the segmentation that are shown black and white."""
_SAMPLES = 2_000_000
"""Voxels that percentiles are taken of."""


@dataclass(frozen=True)
class Turn:
    """How axes are exchanged and reversed so that z goes down, y to the back, x to the left."""

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    """Of the axes in their new order."""

    @classmethod
    def of(cls, direction: Sequence[float] | None) -> "Turn":
        """From a header's nine direction cosines, as SimpleITK gives them (x, y, z; LPS).

        Without them the first plane comes to lie at the bottom, and rows and columns stay.

        >>> Turn.of((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        Turn(order=(0, 1, 2), flips=(True, True, True))
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
        """An array `(z, y, x)` of the file as a view the way it is shown."""
        turned: Array = np.flip(
            array.transpose(self.order), tuple(a for a in range(3) if self.flips[a])
        )
        return turned

    def spacing(self, spacing: Sequence[float]) -> tuple[float, float, float]:
        """Voxel sizes in the order in which the axes are shown."""
        a, b, c = (float(spacing[axis]) for axis in self.order)
        return a, b, c


@dataclass(frozen=True)
class Survey:
    """Where the foreground of a segmentation is."""

    sizes: dict[int, int]
    """Voxels of each label, by rising label."""
    planes: tuple[int, int, int]
    """For each axis the plane that shows most labels, of these the nearest to their centre; the
    middle one where there is no foreground."""


def survey(labels: Array) -> Survey:
    """Look through a segmentation `(z, y, x)` once.

    >>> labels = np.zeros((5, 5, 5), int)
    >>> labels[1:4, 2, 2] = 1
    >>> labels[3, 4, 2] = 2
    >>> survey(labels)
    Survey(sizes={1: 3, 2: 1}, planes=(3, 2, 2))
    """
    found: dict[int, tuple[NDArray[np.int64], ...]] = {}
    for z, plane in enumerate(labels):
        for value in np.nonzero(np.bincount(_values(plane)))[0].tolist():
            if value != 0:
                voxels = found.setdefault(
                    value, tuple(np.zeros(size, np.int64) for size in labels.shape)
                )
                mask = plane == value
                rows = mask.sum(axis=1)
                voxels[0][z] = rows.sum()
                voxels[1][:] += rows
                voxels[2][:] += mask.sum(axis=0)
    sizes = {value: int(found[value][0].sum()) for value in sorted(found)}
    a, b, c = (
        _telling_plane([voxels[axis] for voxels in found.values()], labels.shape[axis])
        for axis in range(3)
    )
    return Survey(sizes, (a, b, c))


def _telling_plane(voxels: Sequence[NDArray[np.int64]], length: int) -> int:
    """The plane across an axis, from the voxels per plane of each label."""
    if not voxels:
        return length // 2
    along = np.stack(voxels)
    kinds = np.count_nonzero(along, axis=0)
    centre = np.average(np.arange(length), weights=along.sum(axis=0))
    (best,) = np.nonzero(kinds == kinds.max())
    return int(best[np.argmin(abs(best - centre))])


def grey_window(volume: Array, labels: Array, spacing: Sequence[float]) -> tuple[float, float]:
    """The values to show black and white: percentiles within 3 cm or so of the segmentation.

    Without foreground they are those of the whole image.
    """
    box = []
    for axis in range(3):
        filled = np.nonzero((labels != 0).any(axis=tuple(a for a in range(3) if a != axis)))[0]
        if not filled.size:
            box = [slice(None)] * 3
            break
        margin = max((filled[-1] - filled[0]) // 2, int(30 / spacing[axis]), 2)
        box.append(slice(max(0, int(filled[0] - margin)), int(filled[-1] + margin + 1)))
    around = volume[tuple(box)].reshape(-1)
    low, high = np.percentile(around[:: max(1, around.size // _SAMPLES)], _WINDOW)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _values(plane: Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = plane.reshape(-1).astype(np.int64).clip(0)
    return values
