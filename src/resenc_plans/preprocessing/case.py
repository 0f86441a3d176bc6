"""One case, from the images' grid to the configuration's: the steps of preprocessing in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.datasets.images.geometry import checked_spacing
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import (
    ConfigurationError,
    DatasetError,
    PlansError,
    UsageError,
    expect_type,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.nnunet_parts import refuse_other_parts
from resenc_plans.preprocessing.class_locations import (
    ClassKey,
    classes_to_locate,
    sample_class_locations,
)
from resenc_plans.preprocessing.crop import crop, mark_outside, nonzero_bounds
from resenc_plans.preprocessing.normalize import Normalization, find_normalization
from resenc_plans.preprocessing.resampling.functions import (
    Resample,
    changes_grid,
    image_resampling,
    label_resampling,
)
from resenc_plans.preprocessing.resampling.labels import DEFAULT_RULE, LabelRule
from resenc_plans.preprocessing.resampling.resample import resampled_shape
from resenc_plans.words import counted

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StoredCase:
    """A preprocessed case."""

    image: FloatArray
    """(c, z, y, x), normalised, at the configuration's spacing, axes in the plans' order."""
    labels: npt.NDArray[np.int16]
    """(1, z, y, x); -1 outside the nonzero region. Without a segmentation 0 and -1."""
    properties: dict[str, Any]
    """What nnU-Net stores to undo the steps, and the class locations."""


@dataclass(frozen=True)
class ChannelRecipe:
    """How one channel is normalised."""

    normalize: Normalization
    use_mask: bool
    intensities: IntensityProperties | None


@dataclass(frozen=True)
class Recipe:
    """What preprocessing needs of plans and dataset.json; it can be sent to a worker."""

    configuration: str
    spacing: tuple[float, ...]
    """mm, in the plans' axis order; with two values the first axis keeps its spacing."""
    patch_size: tuple[int, ...]
    transpose_forward: tuple[int, ...]
    channels: tuple[ChannelRecipe, ...]
    resample_image: Resample
    resample_labels: Resample
    known_labels: frozenset[int] | None
    """The labels that a segmentation may hold; None allows all."""
    located_classes: tuple[ClassKey, ...]

    @classmethod
    def of(
        cls,
        config: ResolvedConfiguration,
        labels: Labels | None = None,
        rule: LabelRule = DEFAULT_RULE,
    ) -> Self:
        """The recipe of a configuration; without `labels` no class is located.

        Raises
        ------
        ConfigurationError
            The preprocessor, the label manager, a normalisation or a resampling is unknown, or
            the plans lack what it needs.
        """
        refuse_other_parts(config)
        known = None
        if labels is not None:
            ignored = () if labels.ignore_label is None else (labels.ignore_label,)
            known = frozenset((*labels.all_labels, *ignored))
        return cls(
            configuration=config.name,
            spacing=tuple(float(length) for length in config.spacing),
            patch_size=config.patch_size,
            transpose_forward=config.plans.transpose_forward,
            channels=_channel_recipes(config),
            resample_image=image_resampling(config),
            resample_labels=label_resampling(config, rule),
            known_labels=known,
            located_classes=classes_to_locate(labels) if labels is not None else (),
        )

    def target_spacing(self, spacing: Sequence[float]) -> tuple[float, ...]:
        """The spacing after resampling of an image that has this one, axes transposed."""
        missing = len(spacing) - len(self.spacing)
        return (*spacing[:missing], *self.spacing)


def preprocess_case(
    images: Array, labels: Array | None, properties: Mapping[str, Any], recipe: Recipe
) -> StoredCase:
    """Transpose, crop to nonzero, normalise, resample, and sample class locations.

    Parameters
    ----------
    images
        (c, z, y, x) as read, of any numeric type; not changed.
    labels
        The segmentation (1, z, y, x), or None.
    properties
        The properties of the image as read; `spacing` in mm along z, y, x is required.
    recipe
        The steps and their settings.

    Raises
    ------
    DatasetError
        The case cannot be preprocessed: channels are missing, shapes differ, voxels are NaN, a
        channel is constant, labels are unknown, there is no spacing.
    UsageError
        `images` or `labels` are no arrays of numbers, `properties` no mapping.
    """
    expect_type(
        properties,
        Mapping,
        "properties",
        "a mapping with `spacing`, such as {'spacing': (2.0, 0.8, 0.8)}",
    )
    try:
        own = np.array(images, dtype=np.float32)
    except (TypeError, ValueError):
        raise UsageError("`images=` is no array of numbers. Give one, (c, z, y, x).") from None
    if labels is not None:
        expect_type(labels, np.ndarray, "labels", "an array (1, z, y, x)")
    return preprocess_in_place(own, labels, properties, recipe)


def preprocess_in_place(
    images: FloatArray, labels: Array | None, properties: Mapping[str, Any], recipe: Recipe
) -> StoredCase:
    """Do the same as `preprocess_case` with images that may be overwritten."""
    _check(images, labels, recipe)
    axes = recipe.transpose_forward
    images = images.transpose(0, *(axis + 1 for axis in axes))
    lengths = _spacing(properties)
    spacing = tuple(lengths[axis] for axis in axes)
    bounds = nonzero_bounds(images)
    shape_before = images.shape[1:]
    images = crop(images, bounds)
    shape_after = images.shape[1:]
    if labels is None:
        segmentation = np.zeros((1, *shape_after), np.int8)
    else:
        whole = _integers(labels)
        _check_labels(whole, recipe)
        transposed = whole.transpose(0, *(axis + 1 for axis in axes))
        segmentation = np.ascontiguousarray(crop(transposed, bounds))
        del whole, transposed
    mark_outside(segmentation[0], images)
    for index, (image, channel) in enumerate(zip(images, recipe.channels, strict=True)):
        mask = segmentation[0] >= 0 if channel.use_mask else None
        try:
            normalized = channel.normalize(image, mask, channel.intensities)
        except (DatasetError, ConfigurationError) as error:
            raise type(error)(f"Channel {index} {error}.") from None
        if normalized is not image:
            image[...] = normalized

    target = recipe.target_spacing(spacing)
    new_shape = shape_after
    if changes_grid(recipe.resample_image) or changes_grid(recipe.resample_labels):
        new_shape = resampled_shape(shape_after, spacing, target)
    if min(new_shape) < 1:
        raise DatasetError(
            f"Its shape {shape_after} at {spacing} mm would be {new_shape} at {target} mm (axes in "
            "the plans' order): no voxels would be left."
        )
    segmentation = recipe.resample_labels(
        segmentation, new_shape, spacing=spacing, new_spacing=target
    )
    result = dict(properties)
    result["shape_before_cropping"] = shape_before
    result["bbox_used_for_cropping"] = bounds
    result["shape_after_cropping_and_before_resampling"] = shape_after
    if labels is not None:
        result["class_locations"] = sample_class_locations(segmentation[0], recipe.located_classes)
    image = recipe.resample_image(images, new_shape, spacing=spacing, new_spacing=target)
    return StoredCase(np.ascontiguousarray(image), segmentation.astype(np.int16), result)


def _channel_recipes(config: ResolvedConfiguration) -> tuple[ChannelRecipe, ...]:
    schemes, masks = config.normalization_schemes, config.use_mask_for_norm
    if len(schemes) != len(masks):
        raise config.error(
            f"normalization_schemes has {counted(len(schemes), 'channel')}, "
            f"use_mask_for_norm {len(masks)}."
        )
    try:
        intensities = config.plans.intensity_properties
    except PlansError:
        intensities = ()
    try:
        functions = [find_normalization(scheme) for scheme in schemes]
    except ConfigurationError as error:
        raise config.error(str(error)) from None
    return tuple(
        ChannelRecipe(normalize, mask, intensities[c] if c < len(intensities) else None)
        for c, (normalize, mask) in enumerate(zip(functions, masks, strict=True))
    )


def _spacing(properties: Mapping[str, Any]) -> tuple[float, ...]:
    return checked_spacing(properties.get("spacing"))


def _check(images: FloatArray, labels: Array | None, recipe: Recipe) -> None:
    if images.ndim != 4 or (labels is not None and labels.ndim != 4):
        raise DatasetError("Images (c, z, y, x) and a segmentation (1, z, y, x) are needed.")
    if len(images) != len(recipe.channels):
        raise DatasetError(
            f"It has {counted(len(images), 'channel')}, but the plans' configuration "
            f"{recipe.configuration} is for {len(recipe.channels)}. Are these the plans of another "
            "dataset?"
        )
    for index, channel in enumerate(images):
        with np.errstate(invalid="ignore"):
            total = channel.sum(dtype=np.float64)
        if not np.isfinite(total):
            raise DatasetError(
                f"Channel {index} has voxels that are NaN or infinite. "
                "Replace them with a finite value."
            )
    if labels is not None and labels.shape[1:] != images.shape[1:]:
        raise DatasetError(
            f"The segmentation has the shape {labels.shape[1:]}, but the image has "
            f"{images.shape[1:]} (z, y, x)."
        )


def _check_labels(labels: Array, recipe: Recipe) -> None:
    if recipe.known_labels is None:
        return
    low = int(labels.min())
    present: set[int] = set()
    for plane in labels[0]:
        counts = np.bincount(plane.astype(np.intp).ravel() - low)
        present.update((np.flatnonzero(counts) + low).tolist())
    unknown = sorted(present - recipe.known_labels)
    if unknown:
        listed = ", ".join(map(str, unknown[:10]))
        raise DatasetError(
            f"The segmentation has the labels {listed}, which dataset.json does not name; it names "
            f"{', '.join(map(str, sorted(recipe.known_labels)))}."
        )


def _integers(labels: Array) -> Array:
    """A copy of the labels as int8, or int16 where they need it."""
    if labels.dtype.kind == "f" and any((plane != np.rint(plane)).any() for plane in labels[0]):
        raise DatasetError("The segmentation has values that are NaN or no whole numbers.")
    low, high = labels.min(), labels.max()
    if low < np.iinfo(np.int16).min or high > np.iinfo(np.int16).max:
        raise DatasetError(f"The segmentation has values from {low} to {high}, no labels.")
    small = low >= np.iinfo(np.int8).min and high <= np.iinfo(np.int8).max
    return np.array(labels, dtype=np.int8 if small else np.int16, order="C")
