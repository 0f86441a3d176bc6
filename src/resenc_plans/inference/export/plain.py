"""Labels from logits by any interpolation: head after head, each on the whole new grid.

Simple and slow. It holds two heads on the new grid at a time, never all of them.
"""

from collections.abc import Sequence

import numpy as np

from resenc_plans.errors import ConfigurationError
from resenc_plans.inference.export.interpolation import Array, Interpolation, Logits


def export_by_heads(
    logits: Logits,
    out: Array,
    *,
    interpolation: Interpolation,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    regions: Sequence[int] | None,
) -> None:
    """Write the labels of logits (heads, z, y, x) to `out` (z, y, x).

    That is the largest head, the first of equals; or, with `regions`, what the last head above
    zero paints, and 0 without one.
    """
    resample = interpolation.function()
    compared = interpolation.result_type(logits.dtype)
    out[...] = 0
    best: Array | None = None
    for head in range(logits.shape[0]):
        source = np.asarray(logits[head : head + 1])
        values = resample(source, out.shape, spacing=spacing, new_spacing=new_spacing)[0]
        if values.shape != out.shape:
            raise ConfigurationError(
                f"The plans resample logits of shape {logits.shape[1:]} to {values.shape}, but the "
                f"image has {out.shape} (z, y, x). Is resampling_fn_probabilities right?"
            )
        values = values.astype(compared, copy=False)
        if regions is not None:
            out[values > 0] = regions[head]
        elif best is None:
            best = values.copy()
        else:
            better = values > best
            out[better] = head
            np.copyto(best, values, where=better)
