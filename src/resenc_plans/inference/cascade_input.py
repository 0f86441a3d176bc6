"""What a network is given: the preprocessed image, in a cascade with the first stage's labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.case import Recipe, preprocess_case

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


def network_input(
    image: Array,
    previous: Array | None,
    properties: Mapping[str, Any],
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
        What the image's reader keeps, with `spacing` in mm along z, y, x.
    recipe, config, labels
        Of the model.

    Raises
    ------
    DatasetError
        The image does not fit the model, or a segmentation is missing, or given for nothing.
    """
    if len(properties["spacing"]) != 3:
        raise DatasetError(f"Spacing {properties['spacing']}: mm along z, y, x are needed.")
    if config.previous_stage is not None and previous is None:
        raise DatasetError(
            f"{config.name}: needs the segmentation that the previous stage, "
            f"{config.previous_stage}, made of this image."
        )
    if config.previous_stage is None and previous is not None:
        raise DatasetError(
            f"{config.name}: is no second stage of a cascade, but a segmentation of the first was "
            "given."
        )
    segmentation = None if previous is None else np.asarray(previous)[None]
    stored = preprocess_case(image, segmentation, properties, recipe)
    stored.properties.pop("class_locations", None)
    if previous is None:
        return stored.image, stored.properties
    values = np.asarray(labels.foreground_labels)[:, None, None, None]
    return np.concatenate([stored.image, stored.labels == values]), stored.properties
