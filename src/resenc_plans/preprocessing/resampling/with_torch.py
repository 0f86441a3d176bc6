"""nnU-Net's resampling with torch, for plans that name it (`resample_torch_fornnunet`).

Linear interpolation without a prefilter, from the planners whose names end in torchres. The
results are torch's own: the same calls of `torch.nn.functional.interpolate`, label by label. torch
is imported when one of the functions is called.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from resenc_plans.preprocessing.resampling.resample import coarse_axis

if TYPE_CHECKING:
    from torch import Tensor

Interpolate = Callable[["Tensor", Sequence[int], str], "Tensor"]

LINEAR = "linear"
SCORE_SCALE = 1000
"""nnU-Net's scale of indicators before they are rounded to half precision."""


def resample_image_with_torch(
    array: npt.NDArray[np.floating],
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    separate_z: bool | None = None,
    mode: str = LINEAR,
    mode_z: str = "nearest-exact",
) -> npt.NDArray[np.float32]:
    """Resample an image (c, z, y, x) to `shape` (z, y, x) as `resample_torch_fornnunet` does."""
    import torch

    def interpolate(values: "Tensor", new_shape: Sequence[int], mode: str) -> "Tensor":
        return _interpolated(values.float(), new_shape, mode)

    source = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    axis = coarse_axis(spacing, new_spacing, separate_z)
    result: npt.NDArray[np.float32] = _along(
        source, shape, axis, (mode, mode_z), interpolate
    ).numpy()
    return result


def resample_labels_with_torch(
    array: npt.NDArray[Any],
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    separate_z: bool | None = None,
    mode: str = LINEAR,
    mode_z: str = "nearest-exact",
    by_threshold: bool = False,
) -> npt.NDArray[np.int16]:
    """Resample a segmentation (c, z, y, x) to `shape` as `resample_torch_fornnunet` does.

    The label with the largest interpolated indicator wins, the smallest of equals, compared in
    half precision. With `by_threshold` (nnU-Net's memefficient_seg_resampling) it is the largest
    label above 0.5, and 0 if there is none.
    """
    import torch

    def interpolate(labels: "Tensor", new_shape: Sequence[int], mode: str) -> "Tensor":
        winner = torch.zeros((labels.shape[0], *new_shape), dtype=torch.int16)
        best = torch.full(winner.shape, -1, dtype=torch.float16)
        for label in torch.unique(labels):
            scale = 1 if by_threshold else SCORE_SCALE
            score = _interpolated((labels == label).float() * scale, new_shape, mode)
            if by_threshold:
                winner[score > 0.5] = label
            else:
                score = score.half()
                winner[score > best] = label
                best = torch.maximum(best, score)
        return winner

    source = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int16))
    axis = coarse_axis(spacing, new_spacing, separate_z)
    result: npt.NDArray[np.int16] = _along(source, shape, axis, (mode, mode_z), interpolate).numpy()
    return result


def _along(
    source: "Tensor",
    shape: Sequence[int],
    axis: int | None,
    modes: tuple[str, str],
    interpolate: Interpolate,
) -> "Tensor":
    """Resample within planes and then across them by `modes`, or all axes together, linearly."""
    mode, mode_z = modes
    if axis is None:
        return _to_shape(source, shape, LINEAR, interpolate)
    planes = source.movedim(axis + 1, 1)
    channels, length = planes.shape[:2]
    plane_shape = tuple(n for a, n in enumerate(shape) if a != axis)
    stack = planes.reshape(-1, *planes.shape[2:])
    stack = _to_shape(stack, plane_shape, mode, interpolate)
    volume = stack.reshape(channels, length, *plane_shape).movedim(1, axis + 1)
    return _to_shape(volume.contiguous(), shape, mode_z, interpolate)


def _to_shape(
    values: "Tensor", shape: Sequence[int], mode: str, interpolate: Interpolate
) -> "Tensor":
    return values if tuple(values.shape[1:]) == tuple(shape) else interpolate(values, shape, mode)


def _interpolated(values: "Tensor", shape: Sequence[int], mode: str) -> "Tensor":
    from torch.nn.functional import interpolate

    linear = {3: "bilinear", 4: "trilinear"}[values.ndim]
    return interpolate(values[None], tuple(shape), mode=linear if mode == LINEAR else mode)[0]
