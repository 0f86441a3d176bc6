"""Between which voxels of an axis the voxels of another grid lie."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.preprocessing.spline import nearest, positions

Indices = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AxisSampling:
    """For each new voxel along an axis the two old ones around it, and their weights."""

    lower: Indices
    upper: Indices
    lower_weight: Weights
    upper_weight: Weights

    @classmethod
    def of(cls, length: int, new_length: int, order: int) -> Self:
        """Linear (order 1) or from the nearest voxel (order 0), with scipy's weights.

        Beyond the outermost voxels their value goes on. Both indices never decrease.

        >>> AxisSampling.of(2, 4, order=1).upper_weight.tolist()
        [0.0, 0.25, 0.75, 0.0]
        """
        if order == 0:
            at: npt.NDArray[Any] = nearest(length, new_length)
        else:
            at = np.clip(positions(length, new_length), 0, length - 1)
        below = np.floor(at)
        fraction = np.asarray(at - below, np.float64)
        lower = below.astype(np.int32)
        upper = np.where(fraction > 0, lower + 1, lower).astype(np.int32)
        return cls(lower, upper, 1.0 - fraction, fraction)

    def __len__(self) -> int:
        return len(self.lower)
