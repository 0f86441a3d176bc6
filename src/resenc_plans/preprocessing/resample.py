"""Resampling of images and segmentations to another grid, as nnU-Net does it, fast and in place.

`resample_image` multiplies each axis by a small matrix (see `spline`); `resample_labels` decides
most voxels by comparing labels and calculates only at borders (see `label_borders`). Both equal
nnU-Net's `resample_data_or_seg_to_shape`: splines of the given order along all axes, or, where one
axis is much coarser than the others, splines within the planes and nearest neighbours along it.

Images are worked through plane by plane in float32, so that beside input and output only a window
of planes is held: `scratch_bytes` says how much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from resenc_plans.preprocessing.label_resampling import LabelRule as LabelRule
from resenc_plans.preprocessing.label_resampling import resample_labels_along
from resenc_plans.preprocessing.spline import AxisMatrix, Block, FloatArray, axis_matrix

ANISOTROPY_THRESHOLD = 3
"""A largest spacing of more than this many times the smallest makes an axis a coarse one."""

ROWS_OF_PLANE = 128
ROWS_OF_STACK = 48
"""Rows per block of a matrix within planes and across them; the latter bounds the window."""

CENTRE_ABOVE = 4
"""Values this many times as large as their range are centred, or float32 would lose the range."""

Image = npt.NDArray[np.floating]
LabelMap = npt.NDArray[np.generic]


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, ...]:
    """The shape that covers the same space at `new_spacing` (nnU-Net's `compute_new_shape`).

    >>> resampled_shape((10, 100, 100), (5.0, 0.5, 0.5), (2.5, 1.0, 1.0))
    (20, 50, 50)
    """
    axes = zip(spacing, new_spacing, shape, strict=True)
    return tuple(round(old / new * length) for old, new, length in axes)


def coarse_axis(
    spacing: Sequence[float], new_spacing: Sequence[float], separate_z: bool | None = None
) -> int | None:
    """The axis that is resampled apart, or None where all are resampled together.

    With `separate_z` None that is the axis with by far the largest spacing, before or else after
    resampling; True takes the largest one in any case, False none. Where two axes share the
    largest spacing there is none (nnU-Net's `determine_do_sep_z_and_axis`).

    >>> coarse_axis((5.0, 0.5, 0.5), (5.0, 0.7, 0.7))
    0
    >>> coarse_axis((1.0, 0.9, 0.8), (1.0, 1.0, 1.0)) is None
    True
    """
    if separate_z is False:
        return None
    for candidate in (spacing,) if separate_z else (spacing, new_spacing):
        largest = max(candidate)
        if separate_z or largest / min(candidate) > ANISOTROPY_THRESHOLD:
            axes = [axis for axis, length in enumerate(candidate) if largest / length == 1]
            return axes[0] if len(axes) == 1 else None
    return None


def resample_image(
    array: Image,
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    order: int = 3,
    order_z: int = 0,
    separate_z: bool | None = None,
) -> FloatArray:
    """Resample an image to `shape`, equal to nnU-Net's result to 1e-5 of its range.

    Parameters
    ----------
    array
        Channels first, (c, z, y, x). It may be a view with any strides, and is not changed.
    shape
        The new (z, y, x).
    spacing, new_spacing
        Voxel sizes before and after, in the array's axis order. They only decide whether an axis
        is resampled apart; the grid follows from the shapes.
    order
        Order of the splines, 0 to 5.
    order_z
        Order along an axis that is resampled apart.
    separate_z
        Whether an axis is resampled apart; None decides by the spacings (`coarse_axis`).

    Returns
    -------
    float32 of shape (c, *shape); `array` itself where the shape stays.
    """
    new_shape = _checked_shape(array, shape)
    if array.shape[1:] == new_shape:
        return np.asarray(array, dtype=np.float32)
    axis = coarse_axis(spacing, new_spacing, separate_z)
    result = np.empty((array.shape[0], *new_shape), np.float32)
    for source, target in zip(array, result, strict=True):
        if axis is None:
            _resample_volume(source, target, order)
        else:
            _resample_planes(
                np.moveaxis(source, axis, 0), np.moveaxis(target, axis, 0), order, order_z
            )
    return result


def resample_labels(
    array: LabelMap,
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    order: int = 1,
    order_z: int = 0,
    separate_z: bool | None = None,
    rule: LabelRule = "threshold",
) -> LabelMap:
    """Resample a segmentation to `shape`, voxel for voxel as nnU-Net does.

    Each label's indicator is resampled with splines of `order`, and `rule` says which label wins:

    - "threshold": the largest label whose indicator reaches 0.5, and 0 where none does
      (batchgenerators up to 0.25.3);
    - "argmax": the label with the largest indicator; of equals the nearest voxel's label if it is
      among them, else the smallest (batchgenerators from 0.25.4).

    nnU-Net 2.8.1 runs with either version. The parameters are those of `resample_image`; `array`
    holds whole numbers of any dtype, and the result has the same dtype.
    """
    new_shape = _checked_shape(array, shape)
    if array.shape[1:] == new_shape:
        return array
    axis = coarse_axis(spacing, new_spacing, separate_z)
    result = np.empty((array.shape[0], *new_shape), array.dtype)
    for source, target in zip(array, result, strict=True):
        resample_labels_along(source, target, axis, order, order_z, rule)
    return result


def scratch_bytes(shape: Sequence[int], new_shape: Sequence[int]) -> int:
    """The most that `resample_image` holds beside its input and output, in bytes."""
    plane = 4 * max(shape[1] * shape[2], new_shape[1] * new_shape[2], shape[1] * new_shape[2])
    planes_per_row = max(1.0, shape[0] / new_shape[0])
    window = ROWS_OF_STACK * (planes_per_row + 1) + 40
    return int(plane * (window + 4))


def _checked_shape(array: npt.NDArray[np.generic], shape: Sequence[int]) -> tuple[int, int, int]:
    if array.ndim != 4 or len(shape) != 3:
        raise ValueError(
            f"an array (c, z, y, x) and a shape (z, y, x) are needed, not {array.shape}, {shape}"
        )
    z, y, x = (int(length) for length in shape)
    if 0 in array.shape or min(z, y, x) < 1:
        raise ValueError(f"nothing can be resampled from {array.shape} to {tuple(shape)}")
    return z, y, x


@dataclass(frozen=True)
class _Centre:
    """What is subtracted from the values while calculating."""

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


def _resample_volume(volume: Image, out: FloatArray, order: int) -> None:
    """Splines along all three axes, clipped to the volume's range."""
    along_z, along_y, along_x = _matrices(volume.shape, out.shape, order, order)
    low, high = np.float32(volume.min()), np.float32(volume.max())
    centre = _Centre.of(low, high)
    if along_z.selection is None and along_z.new_length < along_z.length:
        for block in along_z.blocks:
            planes = _across(block, centre.prepare(volume[block.columns]))
            for plane, target in zip(planes, out[block.rows], strict=True):
                target[...] = _within(plane, along_y, along_x)
    else:
        _planes_then_stack(
            volume, out, along_z, lambda p: _within(centre.prepare(p), along_y, along_x)
        )
    for plane in out:
        centre.restore(plane)
        np.clip(plane, low, high, out=plane)


def _resample_planes(volume: Image, out: FloatArray, order: int, order_z: int) -> None:
    """Splines within each plane, clipped to that plane's range; then `order_z` across planes."""
    along_z, along_y, along_x = _matrices(volume.shape, out.shape, order, order_z)
    centre = _Centre.of(np.float32(volume.min()), np.float32(volume.max()))

    def resample_plane(plane: Image) -> FloatArray:
        prepared = centre.prepare(plane)
        if along_y.is_identity and along_x.is_identity:
            return prepared
        return np.clip(_within(prepared, along_y, along_x), prepared.min(), prepared.max())

    _planes_then_stack(volume, out, along_z, resample_plane)
    for plane in out:
        centre.restore(plane)


def _planes_then_stack(
    volume: Image,
    out: FloatArray,
    along_z: AxisMatrix,
    resample_plane: Callable[[Image], FloatArray],
) -> None:
    """Resample plane by plane, then across planes, with a window of planes in memory."""
    if along_z.selection is not None:
        last = -1
        for target, z in enumerate(along_z.selection):
            out[target] = out[target - 1] if z == last else resample_plane(volume[z])
            last = z
        return
    widest = max(block.width for block in along_z.blocks)
    window = np.empty((widest, *out.shape[1:]), np.float32)
    start = stop = 0
    for block in along_z.blocks:
        columns = block.columns
        kept = max(stop - columns.start, 0)
        window[:kept] = window[columns.start - start : columns.start - start + kept]
        for z in range(columns.start + kept, columns.stop):
            window[z - columns.start] = resample_plane(volume[z])
        start, stop = columns.start, columns.stop
        out[block.rows] = _across(block, window[: block.width])


def _across(block: Block, planes: FloatArray) -> FloatArray:
    """Some rows of the matrix that runs across planes, applied to the planes they need."""
    count, *plane_shape = planes.shape
    return (block.weights @ planes.reshape(count, -1)).reshape(-1, *plane_shape)


def _within(plane: FloatArray, along_y: AxisMatrix, along_x: AxisMatrix) -> FloatArray:
    """A plane resampled along both axes, first along the one that leaves less."""
    size_after_x = along_y.length * along_x.new_length
    size_after_y = along_y.new_length * along_x.length
    if size_after_x <= size_after_y:
        return along_y.along_first(along_x.along_last(plane))
    return along_x.along_last(along_y.along_first(plane))


def _matrices(
    shape: Sequence[int], new_shape: Sequence[int], order: int, order_z: int
) -> tuple[AxisMatrix, AxisMatrix, AxisMatrix]:
    return (
        axis_matrix(shape[0], new_shape[0], order_z, ROWS_OF_STACK),
        axis_matrix(shape[1], new_shape[1], order, ROWS_OF_PLANE),
        axis_matrix(shape[2], new_shape[2], order, ROWS_OF_PLANE),
    )
