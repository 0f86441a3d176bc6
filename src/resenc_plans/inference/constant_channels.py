"""Images with a channel that has one value only, such as a missing sequence filled with zeros.

Preprocessing refuses them, as they spoil training. A model can still predict them, as nnU-Net does.
"""

from dataclasses import replace

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.errors import DatasetError
from resenc_plans.preprocessing.case import ChannelRecipe, Recipe
from resenc_plans.preprocessing.normalize import FloatArray, Mask, zscore


def allow_constant_channels(recipe: Recipe) -> Recipe:
    """The recipe with z-scores of 0 for a channel that has one value only."""
    return replace(recipe, channels=tuple(map(_forgiving, recipe.channels)))


def zscore_or_zero(
    image: FloatArray, mask: Mask | None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """`zscore`; 0 over the mask where all values are equal, as nnU-Net's divisor makes them.

    nnU-Net divides by 1e-8 there, so that its mean's rounding may show; whole numbers give 0.
    """
    try:
        return zscore(image, mask, intensities)
    except DatasetError:
        image[... if mask is None else mask] = 0
        return image


def _forgiving(channel: ChannelRecipe) -> ChannelRecipe:
    return replace(channel, normalize=zscore_or_zero) if channel.normalize is zscore else channel
