"""Resampling of images and segmentations to another grid, as nnU-Net does it, fast and in place.

`resample_image` multiplies each axis by a small matrix (see `spline`); `resample_labels` decides
most voxels by comparing labels and calculates only at borders (see `labels`). Both equal
nnU-Net's `resample_data_or_seg_to_shape`: splines of the given order along all axes, or, if one
axis is much coarser than the others, splines within the planes and nearest neighbours along it.

Images are resampled plane by plane in float32, so that beside input and output only a window of
planes is held; `scratch_bytes` gives its size.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resenc_plans.errors import PreprocessingError
from resenc_plans.execution.threads import plane_threads
from resenc_plans.plans.nnunet_parts import ANISOTROPY_THRESHOLD
from resenc_plans.preprocessing.resampling.images import resample_planes, resample_volume
from resenc_plans.preprocessing.resampling.images import scratch_bytes as scratch_bytes
from resenc_plans.preprocessing.resampling.labels import DEFAULT_RULE, resample_labels_along
from resenc_plans.preprocessing.resampling.labels import LabelRule as LabelRule
from resenc_plans.preprocessing.resampling.spline import FloatArray

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
    float32 of shape (c, *shape); `array` itself if the shape is unchanged.
    """
    new_shape = _checked_shape(array, shape)
    if array.shape[1:] == new_shape:
        return np.asarray(array, dtype=np.float32)
    axis = coarse_axis(spacing, new_spacing, separate_z)
    result = np.empty((array.shape[0], *new_shape), np.float32)
    with plane_threads(max(array[0].size, result[0].size)) as each:
        for source, target in zip(array, result, strict=True):
            if axis is None:
                resample_volume(source, target, order, each)
            else:
                planes, stack = np.moveaxis(source, axis, 0), np.moveaxis(target, axis, 0)
                resample_planes(planes, stack, order, order_z, each)
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
    rule: LabelRule = DEFAULT_RULE,
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
    with plane_threads(max(array[0].size, result[0].size)) as each:
        for source, target in zip(array, result, strict=True):
            resample_labels_along(
                source, target, axis=axis, order=order, order_z=order_z, rule=rule, each=each
            )
    return result


def _checked_shape(array: npt.NDArray[np.generic], shape: Sequence[int]) -> tuple[int, int, int]:
    if array.ndim != 4 or len(shape) != 3:
        raise PreprocessingError(
            f"shape={tuple(shape)}: an array (c, z, y, x) is resampled to a shape (z, y, x), but "
            f"the array has the shape {array.shape}."
        )
    z, y, x = (int(length) for length in shape)
    if 0 in array.shape or min(z, y, x) < 1:
        raise PreprocessingError(
            f"shape={tuple(shape)}: an array of the shape {array.shape} cannot be resampled to it."
        )
    return z, y, x
