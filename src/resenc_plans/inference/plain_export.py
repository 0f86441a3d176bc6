"""Labels from logits by any interpolation: channel after channel, each on the whole new grid.

Simple and slow. It holds two channels at full resolution at a time, never all of them.
"""

from collections.abc import Sequence

import numpy as np

from resenc_plans.inference.interpolation import Array, Interpolation, Logits


def plain_winners(
    logits: Logits,
    shape: Sequence[int],
    interpolation: Interpolation,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    by_region: bool,
) -> Array:
    """Which channel each voxel (z, y, x) of the new grid belongs to.

    The index of the largest logit, the first of equals; `by_region`, one more than the index of
    the last that is above zero, and 0 without one.
    """
    resample = interpolation.function()
    compared = interpolation.result_type(logits.dtype)
    winner = np.zeros(tuple(shape), np.uint8 if logits.shape[0] < 255 else np.uint16)
    best: Array | None = None
    for channel in range(logits.shape[0]):
        source = np.asarray(logits[channel : channel + 1])
        values = resample(source, shape, spacing=spacing, new_spacing=new_spacing)[0]
        values = values.astype(compared, copy=False)
        if by_region:
            winner[values > 0] = channel + 1
        elif best is None:
            best = values.copy()
        else:
            better = values > best
            winner[better] = channel
            np.copyto(best, values, where=better)
    return winner
