"""Normalisation of intensities, one channel at a time, with nnU-Net's schemes and the user's own.

A scheme is a function under the name that plans files give it. `register_normalization` adds one.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.errors import ConfigurationError, DatasetError, PreprocessingError
from resenc_plans.plans.nnunet_parts import name_fault

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MIN_DIVISOR = 1e-8
"""nnU-Net's guard against division by zero."""


class Normalization(Protocol):
    """A normalisation scheme: a picklable function, so one that a module defines."""

    def __call__(
        self, image: FloatArray, mask: Mask | None, intensities: IntensityProperties | None
    ) -> FloatArray:
        """Normalise one channel (z, y, x), in place or not, and return it.

        `mask` says which voxels count and may change, None means all; `intensities` are the
        channel's statistics in the plans.
        """
        ...


def zscore(
    image: FloatArray, mask: Mask | None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """Zero mean and unit variance over the mask; voxels outside of it keep their values."""
    del intensities
    mean, std = _mean_and_std(image, mask)
    shift, divisor = np.float32(mean), np.float32(max(std, MIN_DIVISOR))
    for z, plane in enumerate(image):
        if mask is None:
            plane -= shift
            plane /= divisor
        else:
            plane[mask[z]] = (plane[mask[z]] - shift) / divisor
    return image


def ct(image: FloatArray, mask: Mask | None, intensities: IntensityProperties | None) -> FloatArray:
    """Clip to the foreground's 0.5 to 99.5 percentile and scale by its mean and deviation."""
    del mask
    if intensities is None:
        raise ConfigurationError(
            "CTNormalization needs foreground_intensity_properties_per_channel in the plans"
        )
    low, high = intensities.percentile_00_5, intensities.percentile_99_5
    mean, std = intensities.mean, intensities.std
    if not np.isfinite((low, high, mean, std)).all():
        raise ConfigurationError(
            "CTNormalization cannot be applied: the plans' intensity properties of this channel "
            "are not finite, as for a dataset without foreground"
        )
    divisor = max(std, MIN_DIVISOR)
    for plane in image:
        np.clip(plane, low, high, out=plane)
        plane -= mean
        plane /= divisor
    return image


def rescale_to_0_1(
    image: FloatArray, mask: Mask | None = None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """Scale the channel's range to 0 to 1."""
    del mask, intensities
    image -= image.min()
    image /= max(image.max(), np.float32(MIN_DIVISOR))
    return image


def rgb_to_0_1(
    image: FloatArray, mask: Mask | None = None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """Divide 8-bit colour values by 255."""
    del mask, intensities
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        raise DatasetError(
            f"has values from {low:g} to {high:g}, but RGBTo01Normalization needs 0 to 255"
        )
    image /= 255.0
    return image


def unchanged(
    image: FloatArray, mask: Mask | None = None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """The channel as it is."""
    del mask, intensities
    return image


NORMALIZATIONS: dict[str, Normalization] = {
    "CTNormalization": ct,
    "ZScoreNormalization": zscore,
    "RescaleTo01Normalization": rescale_to_0_1,
    "RGBTo01Normalization": rgb_to_0_1,
    "NoNormalization": unchanged,
}
"""The schemes by the names that plans files use."""


def register_normalization(name: str, scheme: Normalization) -> None:
    """Make plans that name `name` in normalization_schemes use `scheme`.

    Raises
    ------
    PreprocessingError
        Another scheme has this name.
    """
    if NORMALIZATIONS.setdefault(name, scheme) is not scheme:
        raise PreprocessingError(f"name={name!r}: another normalisation has this name already.")


def find_normalization(name: str) -> Normalization:
    """The scheme that plans call `name`.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    fault = name_fault(name, NORMALIZATIONS)
    if fault is not None:
        raise ConfigurationError(
            f"normalization_schemes {fault} "
            "Register it with resenc_plans.preprocessing.register_normalization."
        )
    return NORMALIZATIONS[name]


def _mean_and_std(image: FloatArray, mask: Mask | None) -> tuple[float, float]:
    """Mean and deviation in double precision, plane by plane instead of in copies of the image."""
    count, total, low, high = 0, 0.0, np.inf, -np.inf
    for values in _counting_values(image, mask):
        count += values.size
        total += float(values.sum(dtype=np.float64))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low >= high:
        where = "everywhere" if mask is None else "inside the nonzero region"
        raise DatasetError(f"has the value {low:g} {where}, so it has no z-scores")
    mean = total / count
    squares = 0.0
    for values in _counting_values(image, mask):
        deviation = np.subtract(values, mean, dtype=np.float64)
        squares += float(np.square(deviation, out=deviation).sum())
    return mean, (squares / count) ** 0.5


def _counting_values(image: FloatArray, mask: Mask | None) -> Iterator[FloatArray]:
    """The values inside the mask, plane by plane, leaving out planes without any."""
    for z, plane in enumerate(image):
        values = plane if mask is None else plane[mask[z]]
        if values.size:
            yield values
