"""Spline resampling of a volume, plane by plane, with a window of planes in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.execution.threads import MAX_THREADS, ForEach
from resenc_plans.preprocessing.resampling.spline import AxisMatrix, Block, FloatArray, axis_matrix

Image = npt.NDArray[Any]
Matrices = tuple[AxisMatrix, AxisMatrix, AxisMatrix]
"""Along z, y, x."""

ROWS_OF_PLANE = 128
ROWS_OF_STACK = 48
"""Rows per block of a matrix within planes and across them; the latter bounds the window."""

ROWS_AT_ONCE = 32
"""Image rows that are resampled across planes in one product."""

CENTRE_ABOVE = 4
"""Values this many times as large as their range are centred, since float32
would be too coarse for the range."""


def scratch_bytes(shape: Sequence[int], new_shape: Sequence[int]) -> int:
    """The most that resampling an image holds beside its input and output, in bytes."""
    plane = 4 * max(shape[1] * shape[2], new_shape[1] * new_shape[2], shape[1] * new_shape[2])
    planes_per_row = max(1.0, shape[0] / new_shape[0])
    window = ROWS_OF_STACK * (planes_per_row + 1) + 40
    return int(plane * (window + 4 * MAX_THREADS))


@dataclass(frozen=True)
class _Centre:
    """The value that is subtracted from all values during the calculation."""

    value: np.float32

    @classmethod
    def of(cls, low: np.float32, high: np.float32) -> Self:
        far_from_zero = max(abs(low), abs(high)) > CENTRE_ABOVE * (high - low)
        return cls(low if far_from_zero else np.float32(0))

    def prepare(self, values: Image) -> FloatArray:
        """Contiguous float32 values around zero."""
        if self.value:
            return np.subtract(values, self.value, dtype=np.float32, order="C")
        return np.ascontiguousarray(values, dtype=np.float32)

    def restore(self, values: FloatArray) -> None:
        """Undo `prepare`, in place."""
        if self.value:
            values += self.value


def resample_volume(volume: Image, out: FloatArray, order: int, each: ForEach) -> None:
    """Splines along all three axes, clipped to the volume's range."""
    along_z, along_y, along_x = matrices = _matrices(volume.shape, out.shape, order, order)
    low, high = np.float32(volume.min()), np.float32(volume.max())
    centre = _Centre.of(low, high)

    def finish(z: int) -> None:
        centre.restore(out[z])
        np.clip(out[z], low, high, out=out[z])

    if along_z.selection is None and along_z.new_length < along_z.length:
        _stack_then_planes(volume, out, matrices, centre, each)
    else:
        _planes_then_stack(
            volume, out, along_z, lambda p: _within(centre.prepare(p), along_y, along_x), each
        )
    each(finish, range(len(out)))


def resample_planes(
    volume: Image, out: FloatArray, order: int, order_z: int, each: ForEach
) -> None:
    """Splines within each plane, clipped to that plane's range; then `order_z` across planes."""
    along_z, along_y, along_x = _matrices(volume.shape, out.shape, order, order_z)
    centre = _Centre.of(np.float32(volume.min()), np.float32(volume.max()))

    def resample_plane(plane: Image) -> FloatArray:
        prepared = centre.prepare(plane)
        if along_y.is_identity and along_x.is_identity:
            return prepared
        return np.clip(_within(prepared, along_y, along_x), prepared.min(), prepared.max())

    _planes_then_stack(volume, out, along_z, resample_plane, each)
    each(lambda z: centre.restore(out[z]), range(len(out)))


def _planes_then_stack(
    volume: Image,
    out: FloatArray,
    along_z: AxisMatrix,
    resample_plane: Callable[[Image], FloatArray],
    each: ForEach,
) -> None:
    """Resample plane by plane, then across planes, with a window of planes in memory."""
    if along_z.selection is not None:
        _select_planes(volume, out, along_z.selection, resample_plane, each)
        return
    max_width = max(block.width for block in along_z.blocks)
    window = np.empty((max_width, *out.shape[1:]), np.float32)
    start = stop = 0
    for block in along_z.blocks:
        columns = block.columns
        reused = max(stop - columns.start, 0)
        window[:reused] = window[columns.start - start : columns.start - start + reused]
        start, stop = columns.start, columns.stop

        def fill(z: int, start: int = start) -> None:
            window[z - start] = resample_plane(volume[z])

        each(fill, range(start + reused, stop))
        _across(block, window[: block.width], out[block.rows], each)


def _select_planes(
    volume: Image,
    out: FloatArray,
    selection: npt.NDArray[np.intp],
    resample_plane: Callable[[Image], FloatArray],
    each: ForEach,
) -> None:
    """Resample each selected plane once, and copy it to all its places."""
    first = np.flatnonzero(np.diff(selection, prepend=-1))
    ends = np.append(first[1:], len(selection))

    def resample_once(index: int) -> None:
        out[first[index] : ends[index]] = resample_plane(volume[selection[first[index]]])

    each(resample_once, range(len(first)))


def _stack_then_planes(
    volume: Image, out: FloatArray, matrices: Matrices, centre: _Centre, each: ForEach
) -> None:
    """Resample across planes, then plane by plane: less work if planes become fewer."""
    along_z, along_y, along_x = matrices
    max_rows = max(block.rows.stop - block.rows.start for block in along_z.blocks)
    stack = np.empty((max_rows, *volume.shape[1:]), np.float32)
    for block in along_z.blocks:
        first, last = block.rows.start, block.rows.stop
        _across(block, centre.prepare(volume[block.columns]), stack[: last - first], each)

        def finish(z: int, first: int = first) -> None:
            out[z] = _within(stack[z - first], along_y, along_x)

        each(finish, range(first, last))


def _across(block: Block, planes: FloatArray, out: FloatArray, each: ForEach) -> None:
    """Some rows of the matrix that runs across planes, applied to the planes they need."""
    count, height, width = planes.shape
    flat = planes.reshape(count, -1)

    def do_rows(y: int) -> None:
        end = min(y + ROWS_AT_ONCE, height)
        strip = block.weights @ flat[:, y * width : end * width]
        out[:, y:end] = strip.reshape(len(out), end - y, width)

    each(do_rows, range(0, height, ROWS_AT_ONCE))


def _within(plane: FloatArray, along_y: AxisMatrix, along_x: AxisMatrix) -> FloatArray:
    """A plane resampled along both axes, first along the one whose result is smaller."""
    size_after_x = along_y.length * along_x.new_length
    size_after_y = along_y.new_length * along_x.length
    if size_after_x <= size_after_y:
        return along_y.along_first(along_x.along_last(plane))
    return along_x.along_last(along_y.along_first(plane))


def _matrices(shape: Sequence[int], new_shape: Sequence[int], order: int, order_z: int) -> Matrices:
    return (
        axis_matrix(shape[0], new_shape[0], order_z, ROWS_OF_STACK),
        axis_matrix(shape[1], new_shape[1], order, ROWS_OF_PLANE),
        axis_matrix(shape[2], new_shape[2], order, ROWS_OF_PLANE),
    )
