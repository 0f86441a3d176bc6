"""The resampling functions that plans files name, with the settings they give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.configuration import ResamplingSettings, ResolvedConfiguration
from resenc_plans.preprocessing.resampling.labels import DEFAULT_RULE, LabelRule
from resenc_plans.preprocessing.resampling.resample import (
    ANISOTROPY_THRESHOLD,
    resample_image,
    resample_labels,
)
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

WITHOUT_EFFECT: Mapping[str, tuple[Any, ...] | None] = {
    "is_seg": None,
    "num_threads": None,
    "device": None,
    "memefficient_seg_resampling": None,
    "separate_z_anisotropy_threshold": (ANISOTROPY_THRESHOLD,),
}
"""Settings that change nothing here: with any value, or with these."""


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
    key = f"{config.name}: resampling_fn_data"
    family = _family(config.resampling_fn_data, key)
    return partial(family.image, **_arguments(family, config.resampling_fn_data_kwargs, key))


def label_resampling(config: ResolvedConfiguration, rule: LabelRule = DEFAULT_RULE) -> Resample:
    """The function that resamples the segmentations of a configuration, settings bound.

    Raises
    ------
    ConfigurationError
        The function or one of its settings is unknown.
    """
    key = f"{config.name}: resampling_fn_seg"
    settings = config.resampling_fn_seg_kwargs
    family = _family(config.resampling_fn_seg, key)
    arguments = _arguments(family, settings, key)
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
    key = f"{config.name}: resampling_fn_probabilities"
    family = _family(config.resampling_fn_probabilities, key)
    settings = config.resampling_fn_probabilities_kwargs
    return partial(family.image, **_arguments(family, settings, key))


def _family(name: str, key: str) -> ResamplingFamily:
    if name not in RESAMPLING_FAMILIES:
        raise ConfigurationError(
            f"{key} is {name!r}, which is none of {', '.join(RESAMPLING_FAMILIES)}."
        )
    return RESAMPLING_FAMILIES[name]


def _arguments(family: ResamplingFamily, settings: ResamplingSettings, key: str) -> dict[str, Any]:
    arguments = dict(family.defaults)
    for name, value in settings.model_dump(exclude_unset=True).items():
        if name in family.settings:
            arguments[family.settings[name]] = value
        elif name not in WITHOUT_EFFECT or value not in (WITHOUT_EFFECT[name] or (value,)):
            raise ConfigurationError(
                f"{key}_kwargs has {name!r}: {value!r}, which this function does not know. "
                f"It takes {', '.join(family.settings) or 'none'}."
            )
    return arguments
