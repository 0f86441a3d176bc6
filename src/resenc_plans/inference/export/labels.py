"""Labels on the image's grid from logits on the network's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.images.geometry import checked_spacing
from resenc_plans.errors import PredictionError
from resenc_plans.inference.export.borders import export_by_borders
from resenc_plans.inference.export.interpolation import NNUNETS_DEFAULT, Interpolation, Logits
from resenc_plans.inference.export.plain import export_by_heads
from resenc_plans.words import counted

LabelMap = npt.NDArray[Any]

FLOATS = (np.float16, np.float32, np.float64)


def export_labels(
    logits: Logits,
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    regions: Sequence[int] | None = None,
    interpolation: Interpolation = NNUNETS_DEFAULT,
) -> LabelMap:
    """The segmentation that nnU-Net makes of logits, on a grid of `shape`.

    Parameters
    ----------
    logits
        (heads, z, y, x), float16, float32 or float64; a NumPy array or anything that gives one
        where it is sliced (Zarr, blosc2, h5py), read slab by slab.
    shape
        The new (z, y, x).
    spacing, new_spacing
        Voxel sizes before and after, in the array's axis order. They only decide whether an axis
        is resampled apart; the grid follows from the shapes.
    regions
        With regions: the label that each head paints where its logit is positive, later ones over
        earlier (`regions_class_order`). Without: the label is the head with the largest logit,
        the first of equals.
    interpolation
        How logits are resampled; `Interpolation.of(config)` is what a configuration says.

    Returns
    -------
    (z, y, x), uint8 where all labels fit, else uint16.

    Raises
    ------
    PredictionError
        The logits have another number of axes or type, or do not fit the regions, or `shape` is
        none.
    DatasetError
        A spacing is not three lengths.
    ConfigurationError
        A function that `interpolation` names returns another shape.
    """
    regions = None if regions is None else tuple(regions)
    max_label = logits.shape[0] - 1 if regions is None else max(regions, default=0)
    if any(size < 1 for size in shape):
        raise PredictionError(f"shape {tuple(shape)}: positive numbers of voxels are needed.")
    labels = np.empty(tuple(shape), np.uint8 if max_label < 256 else np.uint16)
    export_labels_into(
        labels,
        logits,
        spacing=spacing,
        new_spacing=new_spacing,
        regions=regions,
        interpolation=interpolation,
    )
    return labels


def export_labels_into(
    out: LabelMap,
    logits: Logits,
    *,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    regions: Sequence[int] | None = None,
    interpolation: Interpolation = NNUNETS_DEFAULT,
) -> None:
    """`export_labels` into an array (z, y, x) of any strides, such as a part of a larger one."""
    if len(logits.shape) != 4 or out.ndim != 3 or 0 in (*logits.shape, *out.shape):
        raise PredictionError(
            "Logits (heads, z, y, x) and a shape (z, y, x) are needed, "
            f"not {tuple(logits.shape)} and {out.shape}."
        )
    if logits.dtype not in FLOATS:
        raise PredictionError(
            f"Logits of type {logits.dtype}: float16, float32 or float64 is needed."
        )
    checked_spacing(spacing)
    checked_spacing(new_spacing)
    if regions is not None and len(regions) != logits.shape[0]:
        raise PredictionError(
            f"{counted(logits.shape[0], 'head')}, but {counted(len(regions), 'region')}: one label "
            "per head is needed."
        )
    if interpolation.is_linear or tuple(logits.shape[1:]) == out.shape:
        export_by_borders(
            logits,
            out,
            orders=interpolation.orders(spacing, new_spacing),
            rounded_to=interpolation.result_type(logits.dtype),
            regions=regions,
        )
    else:
        export_by_heads(
            logits,
            out,
            interpolation=interpolation,
            spacing=spacing,
            new_spacing=new_spacing,
            regions=regions,
        )
