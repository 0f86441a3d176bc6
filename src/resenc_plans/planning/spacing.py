"""The spacing that a dataset is resampled to, and the order of its axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resenc_plans.datasets.fingerprint import Fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ANISOTROPY_THRESHOLD = 3
"""An axis this many times coarser than the others is treated apart."""


def target_spacing(fingerprint: Fingerprint) -> "NDArray[np.float64]":
    """The spacing (z, y, x; mm) of the full-resolution configurations.

    The median of the cases; on an axis that is coarse in mm and short in voxels the tenth
    percentile, though not finer than the other axes
    (nnU-Net's determine_fullres_target_spacing).
    """
    import numpy as np

    spacings = np.array(fingerprint.spacings, dtype=np.float64)
    target = np.percentile(spacings, 50, 0)
    size = np.percentile(np.array(fingerprint.shapes_after_crop), 50, 0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    finest_allowed = max(target[others])
    is_coarse = target[worst] > ANISOTROPY_THRESHOLD * finest_allowed
    is_short = size[worst] * ANISOTROPY_THRESHOLD < min(size[others])
    if is_coarse and is_short:
        tenth = np.percentile(spacings[:, worst], 10)
        if tenth < finest_allowed:
            tenth = max(finest_allowed, tenth) + 1e-5
        target[worst] = tenth
    return target


def axis_order(spacing: Sequence[float]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """`transpose_forward` and `transpose_backward`: the coarsest axis first, the rest in order.

    >>> axis_order((1.0, 0.5, 3.0))
    ((2, 0, 1), (1, 2, 0))
    """
    worst = max(range(3), key=lambda axis: (spacing[axis], -axis))
    first, second = (axis for axis in range(3) if axis != worst)
    forward = (worst, first, second)
    return forward, (forward.index(0), forward.index(1), forward.index(2))


def resampled_median_shape(
    fingerprint: Fingerprint, spacing: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """The median shape (z, y, x; voxels) of the cases once they are resampled to `spacing`."""
    import numpy as np

    spacings = np.array(fingerprint.spacings, dtype=np.float64)
    shapes = np.array(fingerprint.shapes_after_crop, dtype=np.float64)
    return np.asarray(np.median(np.rint(spacings / spacing * shapes), 0))
