"""The input of a network: the preprocessed image, in a cascade with the first stage's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError, PredictionError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.case import ChannelRecipe, Recipe, preprocess_case
from resenc_plans.preprocessing.normalize import Mask, zscore
from resenc_plans.preprocessing.resampling.labels import LabelRule

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

PREVIOUS_STAGE_RULE: LabelRule = "argmax"
"""How nnU-Net resamples a cascade's first segmentation, with batchgenerators from 0.25.4.

No preprocessed case has to agree: in training, this segmentation comes from resampled logits.
"""


def input_recipe(config: ResolvedConfiguration) -> Recipe:
    """How images are preprocessed for prediction.

    Training refuses an image with a channel of one value only, such as a missing sequence filled
    with zeros. A model can still predict it, as nnU-Net does: z-scores are 0 in such a channel.

    Raises
    ------
    ConfigurationError
        A function or setting in the configuration is unknown.
    """
    recipe = Recipe.of(config, rule=PREVIOUS_STAGE_RULE)
    return replace(recipe, channels=tuple(map(_allow_constant, recipe.channels)))


def network_input(
    image: Array,
    previous: Array | None,
    properties: Mapping[str, Any],
    *,
    recipe: Recipe,
    config: ResolvedConfiguration,
    labels: Labels,
) -> tuple[FloatArray, dict[str, Any]]:
    """The channels (c, z, y, x) for the network, and the properties that undo preprocessing.

    Parameters
    ----------
    image
        (c, z, y, x) as read.
    previous
        (z, y, x), the first stage's segmentation on the grid of the image, in a cascade's second
        stage. It adds a channel for each foreground label: 1 where it has the label, else 0.
    properties
        What the reader knows of the image, with `spacing` in mm along z, y, x.
    recipe, config, labels
        Of the model; `input_recipe` makes the recipe.

    Raises
    ------
    DatasetError
        The image does not fit the model.
    PredictionError
        The previous stage's segmentation is missing, or the model takes none.
    """
    if config.previous_stage is not None and previous is None:
        raise PredictionError(
            f"{config.name}: needs the segmentation of this image by the previous stage, "
            f"{config.previous_stage}."
        )
    if config.previous_stage is None and previous is not None:
        raise PredictionError(
            f"{config.name}: is not the second stage of a cascade, so it takes no segmentation of "
            "a first stage."
        )
    segmentation = None if previous is None else np.asarray(previous)[None]
    stored = preprocess_case(image, segmentation, properties, recipe)
    stored.properties.pop("class_locations", None)
    if previous is None:
        return stored.image, stored.properties
    channels = with_previous_stage(stored.image, stored.labels, labels.foreground_labels)
    return channels, stored.properties


def with_previous_stage(
    image: FloatArray, previous: Array, foreground: Sequence[int]
) -> FloatArray:
    """An image (c, z, y, x) with one more channel per foreground label, in their order.

    Each is 1 where the previous stage's labels (1, z, y, x) are that label, else 0.

    >>> with_previous_stage(np.zeros((1, 1, 1, 3), np.float32), np.array([[[[0, 2, 1]]]]), (1, 2))[
    ...     1:, 0, 0
    ... ].tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    one_hot = previous == np.asarray(foreground)[:, None, None, None]
    return np.concatenate([image, one_hot.astype(image.dtype)])


def zscore_or_zero(
    image: FloatArray, mask: Mask | None, intensities: IntensityProperties | None = None
) -> FloatArray:
    """`zscore`; 0 over the mask where all values are equal, as in nnU-Net.

    nnU-Net divides by 1e-8 there, which magnifies the rounding of its mean; whole numbers give 0.
    """
    try:
        return zscore(image, mask, intensities)
    except DatasetError:
        image[... if mask is None else mask] = 0
        return image


def _allow_constant(channel: ChannelRecipe) -> ChannelRecipe:
    return replace(channel, normalize=zscore_or_zero) if channel.normalize is zscore else channel
