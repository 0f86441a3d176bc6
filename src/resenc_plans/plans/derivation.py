"""Make a configuration that inherits from another and overrides some of its values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resenc_plans.errors import ConfigurationError, PlansError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.inheritance import INHERITS_FROM

if TYPE_CHECKING:
    from resenc_plans.plans.plans import Plans

PREPROCESSING_KEYS = (
    "spacing",
    "preprocessor_name",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
"""What the preprocessed cases depend on: these must not differ under one data_identifier."""


def derived_configuration(
    plan: "Plans", name: str, parent: str, overrides: Mapping[str, Any], overwrite: bool
) -> dict[str, Any]:
    """The child as it is to be written; `plan` is not changed.

    Raises
    ------
    PlansError
        The name is taken or cannot be used, or an override does not fit the parent.
    """
    _check_name(plan, name, parent, overwrite)
    config = plan.resolve(parent)
    inherited = config.to_dict()
    child: dict[str, Any] = {INHERITS_FROM: parent}
    for key, value in overrides.items():
        head, *rest = key.split(".")
        if not all((head, *rest)):
            raise ConfigurationError(f"{name}: {key!r} is not a key: a part of it is empty.")
        for part in reversed(rest):
            value = {part: value}
        child[head] = _merged(child.get(head, inherited.get(head)), thaw(value), name, head)
    if "spacing" in child and "median_image_size_in_voxels" not in child:
        size = median_size_at(config, child["spacing"], name)
        if size != inherited["median_image_size_in_voxels"]:
            child["median_image_size_in_voxels"] = size
    changed = [key for key in PREPROCESSING_KEYS if key in child and child[key] != inherited[key]]
    if changed and "data_identifier" not in child:
        child["data_identifier"] = f"{plan.name}_{name}"
    return child


def median_size_at(config: ResolvedConfiguration, spacing: Any, name: str) -> list[int | float]:
    """The median image size (voxels) of a configuration at another spacing (mm).

    nnU-Net rounds the resampled size of an image to whole voxels (compute_new_shape).
    """
    if not isinstance(spacing, list) or len(spacing) != len(config.spacing):
        raise ConfigurationError(
            f"{name}: spacing: {len(config.spacing)} numbers are needed, one per axis."
        )
    if not all(isinstance(value, int | float) and 0 < value < float("inf") for value in spacing):
        raise ConfigurationError(f"{name}: spacing: every value must be positive, in mm.")
    return [
        size if old == new else round(size * old / new)
        for size, old, new in zip(
            config.median_image_size_in_voxels, config.spacing, spacing, strict=True
        )
    ]


def _check_name(plan: "Plans", name: str, parent: str, overwrite: bool) -> None:
    if name in ("", ".", "..") or "__" in name or any(c in name for c in "/\\:\0 "):
        raise PlansError(
            f"{name!r} cannot name a configuration: results folders are split at '__', and "
            "slashes, colons, blanks and dots alone do not belong in a folder's name."
        )
    if name == parent:
        raise PlansError(
            f"{name}: a configuration cannot inherit from itself. Give the new one another name, "
            "or another parent."
        )
    if name in plan.configurations and not overwrite:
        raise PlansError(
            f"{plan.source}: has a configuration {name} already. "
            "Choose another name, or replace it (--overwrite)."
        )


def _merged(inherited: Any, value: Any, name: str, key: str) -> Any:
    """`value`, merged into `inherited` where both are objects."""
    if not isinstance(value, Mapping) or inherited is None:
        return value
    if not isinstance(inherited, Mapping):
        raise ConfigurationError(
            f"{name}: {key}: the parent's value is not an object, so nothing can be set inside it."
        )
    result = thaw(inherited)
    for inner, item in value.items():
        result[inner] = _merged(result.get(inner), item, name, f"{key}.{inner}")
    return result
