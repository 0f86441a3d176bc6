"""The voxels of an axis between which the voxels of another grid lie."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.preprocessing.resampling.spline import nearest, positions

Indices = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float64]


class AxisSampling(NamedTuple):
    """For each new voxel along an axis the two old voxels next to it, and their weights.

    A named tuple, since compiled loops take those as they are.
    """

    lower: Indices
    upper: Indices
    lower_weight: Weights
    upper_weight: Weights

    @classmethod
    def of(cls, length: int, new_length: int, order: int = 1) -> Self:
        """Linear (order 1) or from the nearest voxel (order 0), with scipy's weights.

        Beyond the outermost voxels their values continue. Neither index ever decreases.

        >>> sampling = AxisSampling.of(2, 4, order=1)
        >>> sampling.lower.tolist(), sampling.upper.tolist(), sampling.upper_weight.tolist()
        ([0, 0, 0, 1], [0, 1, 1, 1], [0.75, 0.25, 0.75, 0.25])
        """
        at = nearest(length, new_length) if order == 0 else positions(length, new_length)
        below = np.floor(at)
        fraction = np.asarray(at - below, np.float64)
        above = np.where(fraction > 0, below + 1, below)
        lower, upper = (np.clip(end, 0, length - 1).astype(np.int32) for end in (below, above))
        return cls(lower, upper, 1.0 - fraction, fraction)

    @classmethod
    def at(cls, voxels: npt.NDArray[np.integer]) -> Self:
        """New voxels that are old ones."""
        indices = voxels.astype(np.int32)
        return cls(indices, indices, np.ones(len(voxels)), np.zeros(len(voxels)))
