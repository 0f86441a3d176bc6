"""Spline resampling along one axis, written out as a small matrix.

skimage's `resize(mode="edge", anti_aliasing=False)`, which nnU-Net calls, is scipy's
`zoom(mode="nearest", grid_mode=True)` followed by clipping to the input's range. `zoom` is linear
and separable: a recursive prefilter turns samples into spline coefficients, the spline is evaluated
at `(k + 0.5) * old / new - 0.5`, and outside the image the edge value goes on; each step works on
one axis at a time. So everything it does along an axis of length `old` is one matrix of shape
(new, old), namely what it makes of the unit vectors, and resampling a volume is three matrix
products. In float32 they agree with scipy's double precision to about 3e-7 of the values.

The prefilter reaches over the whole axis, but its impulse response falls by `2 - sqrt(3)` = 0.27
per voxel (cubic), so all entries beyond some 16 voxels from the diagonal are below 1e-9. The
matrix is cut into blocks of rows, each with the columns that matter to it: dense products for
BLAS, with the cost of a band.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

NEGLIGIBLE = 1e-9
"""Weights below this change no float32 sum."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some neighbouring rows of a matrix, without the columns that are zero in all of them."""

    rows: slice
    columns: slice
    weights: FloatArray

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.columns.stop - self.columns.start)


@dataclass(frozen=True, eq=False)
class AxisMatrix:
    """What resampling does along one axis."""

    length: int
    """Length of the axis before."""
    new_length: int
    """Length of the axis after."""
    blocks: tuple[Block, ...]
    """All rows in order; columns never move backwards from block to block."""
    selection: npt.NDArray[np.intp] | None
    """Where each new voxel is one old voxel (order 0, or nothing to do): its index."""

    @property
    def is_identity(self) -> bool:
        """Whether the axis stays as it is."""
        return self.length == self.new_length

    def along_last(self, plane: FloatArray) -> FloatArray:
        """Resample the last axis of a (rows, length) plane."""
        if self.is_identity:
            return plane
        if self.selection is not None:
            return np.take(plane, self.selection, axis=1)
        result = np.empty((plane.shape[0], self.new_length), np.float32)
        for block in self.blocks:
            np.matmul(plane[:, block.columns], block.weights.T, out=result[:, block.rows])
        return result

    def along_first(self, plane: FloatArray) -> FloatArray:
        """Resample the first axis of a (length, columns) plane."""
        if self.is_identity:
            return plane
        if self.selection is not None:
            return np.take(plane, self.selection, axis=0)
        result = np.empty((self.new_length, plane.shape[1]), np.float32)
        for block in self.blocks:
            np.matmul(block.weights, plane[block.columns], out=result[block.rows])
        return result


@lru_cache(maxsize=32)
def axis_matrix(length: int, new_length: int, order: int, rows: int) -> AxisMatrix:
    """The matrix that resamples an axis with splines of `order` 0 to 5, in blocks of `rows`.

    >>> axis_matrix(4, 2, order=1, rows=8).blocks[0].weights.tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    if length == new_length:
        return AxisMatrix(length, new_length, (), np.arange(length))
    if order == 0:
        return AxisMatrix(length, new_length, (), nearest(length, new_length))
    matrix = zoomed(np.eye(length), (new_length, length), order)
    return AxisMatrix(length, new_length, _blocks(matrix, rows), None)


def zoomed(values: DoubleArray, shape: tuple[int, ...], order: int) -> DoubleArray:
    """What skimage's `resize` makes of an array before it clips, in double precision."""
    from scipy.ndimage import zoom

    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    options: Any = {"order": order, "mode": "nearest", "grid_mode": True}
    return np.asarray(zoom(values, factors, **options), np.float64)


def positions(length: int, new_length: int) -> DoubleArray:
    """Where the voxels of a resampled axis lie among the old ones: outer edges coincide.

    >>> positions(2, 4).tolist()
    [-0.25, 0.25, 0.75, 1.25]
    """
    return np.asarray((np.arange(new_length) + 0.5) * (length / new_length) - 0.5, np.float64)


def nearest(length: int, new_length: int) -> npt.NDArray[np.intp]:
    """The old voxel nearest to each new one, the later of two equally near.

    >>> nearest(4, 2).tolist()
    [1, 3]
    """
    rounded = np.floor(positions(length, new_length) + 0.5).astype(np.intp)
    return np.clip(rounded, 0, length - 1)


def _blocks(matrix: DoubleArray, rows: int) -> tuple[Block, ...]:
    starts_of_rows = range(0, len(matrix), rows)
    needed = [
        np.flatnonzero((np.abs(matrix[row : row + rows]) > NEGLIGIBLE).any(axis=0))
        for row in starts_of_rows
    ]
    starts = np.minimum.accumulate([columns[0] for columns in needed][::-1])[::-1]
    stops = np.maximum.accumulate([columns[-1] + 1 for columns in needed])
    return tuple(
        Block(
            slice(row, min(row + rows, len(matrix))),
            slice(int(start), int(stop)),
            np.ascontiguousarray(matrix[row : row + rows, start:stop], dtype=np.float32),
        )
        for row, start, stop in zip(starts_of_rows, starts, stops, strict=True)
    )
