"""How logits are interpolated from the network's grid to the image's, as the plans say."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.resampling.functions import Resample, probability_resampling
from resenc_plans.preprocessing.resampling.resample import coarse_axis, resample_image
from resenc_plans.preprocessing.resampling.with_torch import LINEAR, resample_image_with_torch

Array = npt.NDArray[Any]

NEAREST_EXACT = "nearest-exact"


class Logits(Protocol):
    """Logits (heads, z, y, x): a NumPy array, or one on disk that is read where it is sliced."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(heads, z, y, x)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16, float32 or float64."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """The part within slices, as an array."""
        ...


@dataclass(frozen=True)
class Interpolation:
    """What happens to each channel of logits between two grids."""

    order: int = 1
    """Order of the splines: 0 takes the nearest voxel, 1 is linear."""
    order_z: int = 0
    """Order along an axis that is resampled apart."""
    separate_z: bool | None = None
    """Whether an axis is resampled apart; None decides by the spacings."""
    rounds: bool = True
    """Whether results are rounded to the type of the logits, as by nnU-Net's default function."""
    other: Resample | None = field(default=None, compare=False)
    """The whole function, where it is none of the above."""

    @classmethod
    def of(cls, config: ResolvedConfiguration) -> Self:
        """What `resampling_fn_probabilities` of a configuration does.

        Raises
        ------
        ConfigurationError
            The function or one of its settings is unknown.
        """
        function = probability_resampling(config)
        settings = function.keywords
        if function.func is resample_image:
            return cls(settings["order"], settings["order_z"], settings["separate_z"])
        if function.func is resample_image_with_torch:
            modes = settings.get("mode", LINEAR), settings.get("mode_z", NEAREST_EXACT)
            apart = settings.get("separate_z")
            if apart is False or modes == (LINEAR, NEAREST_EXACT):
                return cls(separate_z=apart, rounds=False)
        return cls(other=function)

    @property
    def is_linear(self) -> bool:
        """Whether each result is a mean of the (up to eight) nearest voxels."""
        return self.other is None and self.order <= 1 and self.order_z <= 1

    def function(self) -> Resample:
        """The function that resamples arrays (c, z, y, x)."""
        if self.other is not None:
            return self.other
        return partial(
            resample_image, order=self.order, order_z=self.order_z, separate_z=self.separate_z
        )

    def orders(self, spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[int, ...]:
        """The order along each axis, from the voxel sizes before and after."""
        apart = coarse_axis(spacing, new_spacing, self.separate_z)
        return tuple(self.order_z if axis == apart else self.order for axis in range(3))

    def result_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type in which resampled logits are compared."""
        return dtype if self.rounds else np.dtype(np.float32)


NNUNETS_DEFAULT = Interpolation()
"""Linear, the coarse axis of anisotropic images by nearest neighbours: all planners write this."""
