"""The resampling functions that plans files name, with the settings they give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from resenc_plans.plans.configuration import ResamplingSettings, ResolvedConfiguration
from resenc_plans.plans.nnunet_parts import Purpose, argument_faults, name_fault
from resenc_plans.preprocessing.resampling.labels import DEFAULT_RULE, LabelRule
from resenc_plans.preprocessing.resampling.resample import resample_image, resample_labels
from resenc_plans.preprocessing.resampling.with_torch import (
    resample_image_with_torch,
    resample_labels_with_torch,
)

Array = npt.NDArray[Any]


class Resample(Protocol):
    """Bring an array (c, z, y, x) to a shape (z, y, x)."""

    def __call__(
        self,
        array: Array,
        shape: Sequence[int],
        *,
        spacing: Sequence[float],
        new_spacing: Sequence[float],
    ) -> Array:
        """Resample; the spacings belong to the array before and after."""
        ...


@dataclass(frozen=True)
class ResamplingFamily:
    """A function of nnU-Net: what it is here for images and labels, and how settings translate."""

    image: Callable[..., Array]
    labels: Callable[..., Array]
    settings: Mapping[str, str]
    """Setting in the plans to argument."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments where the plans say nothing, as nnU-Net's function has them."""


def _unchanged(array: Array, shape: Sequence[int], **_: Any) -> Array:
    del shape
    return array


RESAMPLING_FAMILIES: dict[str, ResamplingFamily] = {
    "resample_data_or_seg_to_shape": ResamplingFamily(
        resample_image,
        resample_labels,
        {"order": "order", "order_z": "order_z", "force_separate_z": "separate_z"},
        {"order": 3, "order_z": 0, "separate_z": False},
    ),
    "resample_torch_fornnunet": ResamplingFamily(
        resample_image_with_torch,
        resample_labels_with_torch,
        {"force_separate_z": "separate_z", "mode": "mode", "aniso_axis_mode": "mode_z"},
    ),
    "resample_torch_simple": ResamplingFamily(
        resample_image_with_torch,
        resample_labels_with_torch,
        {},
        {"separate_z": False},
    ),
    "no_resampling_hack": ResamplingFamily(_unchanged, _unchanged, {}),
}
"""The functions by the names that plans files use."""


def computes_with_torch(resample: Resample) -> bool:
    """Whether a function of `image_resampling` or `label_resampling` computes with tensors."""
    function = resample.func if isinstance(resample, partial) else resample
    return function in (resample_image_with_torch, resample_labels_with_torch)


def changes_grid(resample: Resample) -> bool:
    """Whether a function of `image_resampling` or `label_resampling` resamples at all."""
    return not (isinstance(resample, partial) and resample.func is _unchanged)


def image_resampling(config: ResolvedConfiguration) -> Resample:
    """The function that resamples the images of a configuration, settings bound.

    Raises
    ------
    ConfigurationError
        The function or one of its settings is unknown.
    """
    family = _family(config, "data")
    return partial(family.image, **_arguments(family, config.resampling_fn_data_kwargs))


def label_resampling(config: ResolvedConfiguration, rule: LabelRule = DEFAULT_RULE) -> Resample:
    """The function that resamples the segmentations of a configuration, settings bound.

    Raises
    ------
    ConfigurationError
        The function or one of its settings is unknown.
    """
    settings = config.resampling_fn_seg_kwargs
    family = _family(config, "seg")
    arguments = _arguments(family, settings)
    if family.labels is resample_labels:
        arguments["rule"] = rule
    elif family.labels is resample_labels_with_torch:
        arguments["by_threshold"] = bool(
            settings.model_dump().get("memefficient_seg_resampling", False)
        )
    return partial(family.labels, **arguments)


def probability_resampling(config: ResolvedConfiguration) -> partial[Array]:
    """The function that resamples the logits of a configuration's network, settings bound.

    Raises
    ------
    ConfigurationError
        The function or one of its settings is unknown.
    """
    family = _family(config, "probabilities")
    return partial(family.image, **_arguments(family, config.resampling_fn_probabilities_kwargs))


def _family(config: ResolvedConfiguration, purpose: Purpose) -> ResamplingFamily:
    key = f"resampling_fn_{purpose}"
    name = getattr(config, key)
    fault = name_fault(name, RESAMPLING_FAMILIES)
    if fault is not None:
        raise config.error(f"{key} {fault}")
    for argument, fault in argument_faults(config, purpose):
        raise config.error(f"{argument} {fault}")
    return RESAMPLING_FAMILIES[name]


def _arguments(family: ResamplingFamily, settings: ResamplingSettings) -> dict[str, Any]:
    """What the settings say; those that have no translation change nothing here."""
    values = settings.model_dump(exclude_unset=True)
    own = {
        family.settings[name]: value for name, value in values.items() if name in family.settings
    }
    return {**family.defaults, **own}
