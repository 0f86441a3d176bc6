"""Labels on the image's grid from logits on the network's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.inference.interpolation import NNUNETS_DEFAULT, Interpolation, Logits
from resenc_plans.inference.plain_export import plain_winners

LabelMap = npt.NDArray[Any]


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
    """
    if len(logits.shape) != 4 or len(shape) != 3:
        raise ValueError(
            f"logits (heads, z, y, x) and a shape (z, y, x) are needed, "
            f"not {logits.shape} and {tuple(shape)}"
        )
    if regions is not None and len(regions) != logits.shape[0]:
        raise ValueError(f"{logits.shape[0]} heads, but {len(regions)} regions")
    winners = plain_winners(logits, shape, interpolation, spacing, new_spacing, regions is not None)
    if regions is None:
        return winners
    painted = np.array([0, *regions])
    return painted.astype(np.uint8 if painted.max() < 256 else np.uint16)[winners]
