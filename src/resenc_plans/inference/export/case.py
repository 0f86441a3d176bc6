"""From the logits of a case to its segmentation on the grid of the image file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.labels import Labels
from resenc_plans.inference.export.interpolation import Interpolation, Logits
from resenc_plans.inference.export.labels import export_labels_into
from resenc_plans.plans.configuration import ResolvedConfiguration

LabelMap = npt.NDArray[Any]


@dataclass(frozen=True)
class ExportRecipe:
    """All that export needs of plans and dataset.json; it can be sent to a worker."""

    spacing: tuple[float, ...]
    """mm, in the plans' axis order; two values leave the first axis as it is."""
    transpose_forward: tuple[int, ...]
    interpolation: Interpolation
    regions: tuple[int, ...] | None
    """The label that each region paints, later ones over earlier; None without regions."""
    dtype: np.dtype[Any]
    """uint8 for fewer than 255 foreground labels, else uint16."""

    @classmethod
    def of(cls, config: ResolvedConfiguration, labels: Labels) -> Self:
        """The recipe of a configuration.

        Raises
        ------
        ConfigurationError
            The function that resamples probabilities, or one of its settings, is unknown.
        """
        return cls(
            spacing=tuple(float(length) for length in config.spacing),
            transpose_forward=config.plans.transpose_forward,
            interpolation=Interpolation.of(config),
            regions=labels.regions_class_order,
            dtype=np.dtype(np.uint8 if len(labels.foreground_labels) < 255 else np.uint16),
        )

    def spacings(self, properties: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
        """Spacing of the logits and of the cropped image, both in the plans' axis order."""
        image = tuple(float(properties["spacing"][axis]) for axis in self.transpose_forward)
        return (*image[: len(image) - len(self.spacing)], *self.spacing), image


def export_case(logits: Logits, properties: Mapping[str, Any], recipe: ExportRecipe) -> LabelMap:
    """The segmentation of a case as nnU-Net would write it.

    Equals nnU-Net's `convert_predicted_logits_to_segmentation_with_correct_shape`.

    Parameters
    ----------
    logits
        (heads, z, y, x), as `export_labels` takes them.
    properties
        What preprocessing records of the case: spacing, shapes, and the box it was cropped to.
    recipe
        What the plans say.

    Returns
    -------
    (z, y, x) on the grid of the image file, axes in its order, of `recipe.dtype`; it may be a
    view with permuted strides.
    """
    spacing, image_spacing = recipe.spacings(properties)
    whole = np.zeros(tuple(properties["shape_before_cropping"]), recipe.dtype)
    export_labels_into(
        whole[box_of(properties)],
        logits,
        spacing=spacing,
        new_spacing=image_spacing,
        regions=recipe.regions,
        interpolation=recipe.interpolation,
    )
    return whole.transpose(inverse(recipe.transpose_forward))


def uncropped(labels: LabelMap, properties: Mapping[str, Any], recipe: ExportRecipe) -> LabelMap:
    """The segmentation of a case, as `export_case`, from the labels of its box."""
    whole = np.zeros(tuple(properties["shape_before_cropping"]), recipe.dtype)
    whole[box_of(properties)] = labels
    return whole.transpose(inverse(recipe.transpose_forward))


def cropped_shape(properties: Mapping[str, Any]) -> tuple[int, ...]:
    """The size of the part that remained after cropping."""
    return tuple(axis.stop - axis.start for axis in box_of(properties))


def box_of(properties: Mapping[str, Any]) -> tuple[slice, ...]:
    """The part of the transposed image that remained after cropping."""
    return tuple(slice(int(start), int(stop)) for start, stop in _bounds(properties))


def inverse(transpose: Sequence[int]) -> tuple[int, ...]:
    """The permutation of axes that undoes one.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    return tuple(int(axis) for axis in np.argsort(transpose))


def _bounds(properties: Mapping[str, Any]) -> Sequence[Sequence[int]]:
    bounds: Sequence[Sequence[int]] = properties["bbox_used_for_cropping"]
    return bounds
