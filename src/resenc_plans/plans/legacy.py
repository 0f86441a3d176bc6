"""Older plans formats, and how they become the current one.

Until nnU-Net 2.5 a configuration described its network by keys of its own (`UNet_class_name`,
`conv_kernel_sizes`, ...) where it now has `architecture`; the oldest files call the intensity
statistics `foreground_intensity_properties_by_modality`. nnU-Net converts such a file
when it reads it, and so do we, with one deliberate difference: for `ResidualEncoderUNet` nnU-Net
2.8.1 writes the module `...architectures.residual_unet`, in which that class does not exist, so
that it has to be searched for by its bare name; we write `...architectures.unet`, where it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resenc_plans.errors import ConfigurationError, InheritanceError, shown
from resenc_plans.plans.architectures import (
    LAYERS,
    MAX_STAGES,
    PLAIN_CONV_UNET,
    RESIDUAL_ENCODER_UNET,
)
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.inheritance import INHERITS_FROM, inherit
from resenc_plans.words import counted

INTENSITIES = "foreground_intensity_properties_per_channel"
OLD_INTENSITIES = "foreground_intensity_properties_by_modality"

OLD_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
    "unet_max_num_features",
)
"""Keys of a configuration in the old format that `architecture` replaces."""

_NEEDED = tuple(key for key in OLD_KEYS if key != "num_pool_per_axis")

_ENCODERS = {
    "PlainConvUNet": (PLAIN_CONV_UNET, "n_conv_per_stage"),
    "ResidualEncoderUNet": (RESIDUAL_ENCODER_UNET, "n_blocks_per_stage"),
}


def modernize(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's inherited values in the current format, as a new object.

    Raises
    ------
    ConfigurationError
        The old format names a network that has no current form, or lacks a key.
    """
    if "architecture" in values or "UNet_class_name" not in values:
        return dict(values)
    result = {key: value for key, value in values.items() if key not in OLD_KEYS}
    result["architecture"] = _architecture(name, values)
    return result


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade did, in sentences."""

    changed: tuple[str, ...]
    """What was rewritten."""
    unchanged: tuple[str, ...]
    """What has no current form, and why."""


def upgrade_document(document: dict[str, Any]) -> Upgrade:
    """Rewrite a plans document to the current format, in place.

    Every configuration resolves to the same values as before. One whose network has no current
    form is not rewritten.
    """
    changed: list[str] = []
    unchanged: list[str] = []
    if OLD_INTENSITIES in document and INTENSITIES not in document:
        _rename_key(document, OLD_INTENSITIES, INTENSITIES)
        changed.append(f"{OLD_INTENSITIES} is now called {INTENSITIES}.")

    written: dict[str, dict[str, Any]] = document["configurations"]
    rewritten: dict[str, dict[str, Any]] = {}
    for name, values in written.items():
        old = [key for key in OLD_KEYS if key in values]
        if not old:
            continue
        try:
            inherited = inherit(written, name)
            modern = modernize(name, inherited)
        except (ConfigurationError, InheritanceError) as error:
            unchanged.append(str(error))
            continue
        if "architecture" not in modern:
            unchanged.append(f"{name}: has old keys ({', '.join(old)}), but names no network.")
            continue
        rewritten[name] = {key: value for key, value in values.items() if key not in OLD_KEYS}
        is_overridden = "architecture" in inherited
        if not is_overridden:
            rewritten[name]["architecture"] = modern["architecture"]
        changed.append(
            f"{name}: {counted(len(old), 'old key')} "
            + ("removed, architecture overrides them." if is_overridden else "became architecture.")
        )
    needed = _ancestors_of_unchanged(written, set(rewritten))
    for name in needed & set(rewritten):
        unchanged.append(
            f"{name}: must stay in the old format: one that cannot be rewritten inherits from it."
        )
        changed = [line for line in changed if not line.startswith(f"{name}: ")]
    for name in rewritten.keys() - needed:
        written[name] = rewritten[name]
    return Upgrade(tuple(changed), tuple(unchanged))


def _ancestors_of_unchanged(written: Mapping[str, Any], rewritten: set[str]) -> set[str]:
    """Parents, at any distance, of old configurations that could not be rewritten."""
    needed: set[str] = set()
    for name, values in written.items():
        if name in rewritten or not any(key in values for key in OLD_KEYS):
            continue
        parent = values.get(INHERITS_FROM)
        while isinstance(parent, str) and parent in written and parent not in needed:
            needed.add(parent)
            parent = written[parent].get(INHERITS_FROM)
    return needed


def _architecture(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    class_name = values["UNet_class_name"]
    if not isinstance(class_name, str) or class_name not in _ENCODERS:
        raise ConfigurationError(
            f"{name}: UNet_class_name {shown(class_name)} is an old-format network that has no "
            f"current form; nnU-Net converts {' and '.join(_ENCODERS)} only. "
            "Give the configuration an architecture of its own."
        )
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ConfigurationError(
            f"{name}: an old-format configuration without {', '.join(missing)}. "
            "Add what is missing, or plan the dataset again."
        )
    network, encoder_key = _ENCODERS[class_name]
    per_stage = values["n_conv_per_stage_encoder"]
    base, maximum = values["UNet_base_num_features"], values["unet_max_num_features"]
    patch_size = values.get("patch_size")
    dim = len(patch_size) if isinstance(patch_size, list | tuple) else 0
    stages = len(per_stage) if isinstance(per_stage, list | tuple) else 0
    if dim not in (2, 3) or not 1 <= stages <= MAX_STAGES:
        raise ConfigurationError(
            f"{name}: an old-format configuration needs a patch_size of 2 or 3 numbers and a list "
            f"n_conv_per_stage_encoder of at most {MAX_STAGES}."
        )
    for key in ("UNet_base_num_features", "unet_max_num_features"):
        if isinstance(values[key], bool) or not isinstance(values[key], int):
            raise ConfigurationError(f"{name}: {key} must be an integer, not {shown(values[key])}.")
    return {
        "network_class_name": network,
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(base * 2**stage, maximum) for stage in range(stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
            "kernel_sizes": thaw(values["conv_kernel_sizes"]),
            "strides": thaw(values["pool_op_kernel_sizes"]),
            encoder_key: thaw(per_stage),
            "n_conv_per_stage_decoder": thaw(values["n_conv_per_stage_decoder"]),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": [*LAYERS],
    }


def _rename_key(document: dict[str, Any], old: str, new: str) -> None:
    """Rename a key without moving it."""
    items = [(new if key == old else key, value) for key, value in document.items()]
    document.clear()
    document.update(items)
