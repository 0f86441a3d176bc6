"""Which voxels of a case a sample shows: nnU-Net's `nnUNetDataLoader.get_bbox`.

Random numbers come from NumPy's global generator, in nnU-Net's order of drawing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from resenc_plans.datasets.labels import Labels
from resenc_plans.preprocessing.class_locations import ClassKey

OUTSIDE_IMAGE, OUTSIDE_LABEL = 0, -1
"""What a patch holds where it reaches over the edge of the case."""


@dataclass(frozen=True)
class PatchSampler:
    """Draws positions of patches.

    `read_size` is what is read (z, y, x), larger than the network's `patch_size` where a patch is
    going to be rotated or shrunk; in 2D both have one plane.
    """

    patch_size: tuple[int, ...]
    read_size: tuple[int, ...]
    annotated: ClassKey | None
    """The key of all annotated voxels in the class locations; None without an ignore label."""

    @classmethod
    def of(
        cls, patch_size: Sequence[int], read_size: Sequence[int], labels: Labels
    ) -> "PatchSampler":
        """For patches of a configuration, 2D or 3D."""
        plane = (1,) * (3 - len(patch_size))
        annotated = (-1, *labels.all_labels) if labels.ignore_label is not None else None
        return cls((*plane, *patch_size), (*plane, *read_size), annotated)

    def draw(
        self,
        shape: Sequence[int],
        locations: Mapping[ClassKey, npt.NDArray[np.int64] | list[int]],
        *,
        foreground: bool,
    ) -> tuple[int, ...]:
        """The first voxel (z, y, x) of the region to read; it may lie outside the case.

        With `foreground` the region is centred on a voxel of a random class that the case has,
        without it anywhere, or where there is an ignore label on an annotated voxel.
        """
        smallest, largest = self._limits(shape)
        voxels = self._voxels(locations, foreground=foreground)
        if voxels is None:
            return tuple(
                int(np.random.randint(low, high + 1))
                for low, high in zip(smallest, largest, strict=True)
            )
        voxel = voxels[np.random.choice(len(voxels))]
        return tuple(
            max(low, int(centre) - size // 2)
            for low, centre, size in zip(smallest, voxel[1:], self.read_size, strict=True)
        )

    def _limits(self, shape: Sequence[int]) -> tuple[list[int], list[int]]:
        smallest, largest = [], []
        for length, read, patch in zip(shape, self.read_size, self.patch_size, strict=True):
            padding = max(read - patch, read - length)
            smallest.append(-padding // 2)
            largest.append(length + padding // 2 + padding % 2 - read)
        return smallest, largest

    def _voxels(
        self, locations: Mapping[ClassKey, Any], *, foreground: bool
    ) -> npt.NDArray[np.int64] | None:
        """Voxels of which one is the centre, None where the position is free."""
        if foreground:
            classes = [key for key, voxels in locations.items() if len(voxels)]
            if self.annotated in classes and len(classes) > 1:
                classes.remove(self.annotated)
            if not classes:
                return None
            voxels: npt.NDArray[np.int64] = locations[classes[np.random.choice(len(classes))]]
            return voxels
        if self.annotated is None:
            return None
        annotated: npt.NDArray[np.int64] = locations[self.annotated]
        return annotated if len(annotated) else None


def reached(grid: Tensor, size: Sequence[int]) -> tuple[slice, ...]:
    """The part of an image of this size that linear interpolation at the points of a grid takes.

    The grid (*points, axes) is affine and centred, as `SpatialTransform` draws it, so its corners
    reach farthest; a voxel is added for rounding. The part may be larger than the image.
    """
    corners = grid[tuple(slice(None, None, max(1, points - 1)) for points in grid.shape[:-1])]
    extents = corners.abs().reshape(-1, len(size)).amax(0).flip(0).tolist()
    part = []
    for length, extent in zip(size, extents, strict=True):
        unreached = max(0, floor((length - 1 - length * extent) / 2) - 1)
        part.append(slice(unreached, length - unreached))
    return tuple(part)


def read_region(
    array: Any,
    first: Sequence[int],
    size: Sequence[int],
    outside: int,
    part: Sequence[slice] | None = None,
) -> npt.NDArray[Any]:
    """A region of an array (c, z, y, x) on disk, filled with `outside` beyond its edges.

    Only what lies within the array is read; with `part`, only that part of the region, and the rest
    of it is 0. The result may be written to.
    """
    part = part or tuple(slice(0, extent) for extent in size)
    inside = tuple(
        slice(min(max(0, start + piece.start), length), max(0, min(start + piece.stop, length)))
        for start, piece, length in zip(first, part, array.shape[1:], strict=True)
    )
    region = np.asarray(array[(slice(None), *inside)])
    if region.shape[1:] == tuple(size):
        return np.require(region, requirements=["C", "W"])
    result = np.zeros((len(region), *size), region.dtype)
    if outside != 0:
        result[(slice(None), *part)] = outside
    target = tuple(
        slice(within.start - start, within.start - start + length)
        for within, start, length in zip(inside, first, region.shape[1:], strict=True)
    )
    result[(slice(None), *target)] = region
    return result
