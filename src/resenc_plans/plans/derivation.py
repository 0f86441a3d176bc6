"""Make a configuration that inherits from another and overrides some of its values."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from resenc_plans.datasets.bounds import MAX_SPACING, MIN_SPACING
from resenc_plans.errors import ConfigurationError, PlansError, UsageError, shown
from resenc_plans.files import fault_of_part
from resenc_plans.plans.architectures import LAYERS, architecture_kind, is_same_network
from resenc_plans.plans.configuration import PREPROCESSING_KEYS, ResolvedConfiguration
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.header import PlansHeader
from resenc_plans.plans.inheritance import INHERITS_FROM
from resenc_plans.plans.known_networks import find_network, resolutions_of
from resenc_plans.plans.topology import overrides_for_patch_size, padded
from resenc_plans.words import counted

_SUFFIXES = {"batch_size": "bs", "spacing": "sp", "patch_size": "ps"}
"""What a derived configuration's name says of its overrides, in this order."""


def default_parent(plans: PlansHeader) -> str:
    """The configuration to derive from where none is named: 3d_fullres, else 2d, else the first.

    Raises
    ------
    PlansError
        There are no configurations.
    """
    configurations = plans.document["configurations"]
    for name in ("3d_fullres", "2d", *configurations):
        if name in configurations:
            return str(name)
    raise PlansError(f"{plans.source}: has no configurations.")


def complete_overrides(
    parent: ResolvedConfiguration,
    overrides: Mapping[str, Any],
    *,
    gpus: int | None = None,
    keep_topology: bool = False,
) -> dict[str, Any]:
    """The overrides with what follows from them: the batch size of `gpus`, a patch's topology.

    A new patch size is rounded up to what the network takes. What is overridden inside of
    `architecture` is overridden after the topology. A patch for a network of another class than the
    parent's is taken as it is.

    Raises
    ------
    UsageError
        Nothing is overridden, or both `gpus` and `batch_size` are given.
    ConfigurationError
        The topology of the parent's network is unknown, or the patch has other axes than it.
    """
    if gpus is not None:
        if "batch_size" in overrides:
            raise UsageError("batch_size and gpus both set the batch size: give one of them.")
        overrides = {"batch_size": parent.batch_size * gpus, **overrides}
    if not overrides:
        raise UsageError(
            "Nothing to change: give batch_size, gpus, patch_size, spacing or another value."
        )
    patch_size, spacing = overrides.get("patch_size"), overrides.get("spacing")
    if keep_topology or not _is_sizes(patch_size) or new_network(parent, overrides) is not None:
        return dict(overrides)
    if find_network(parent.architecture.network_class_name) is not None:
        if len(patch_size) == parent.dim:
            rule = resolutions_of(parent).patch_rule
            patch_size = rule.nearest(padded(patch_size, rule.multiples))
        return {**overrides, "patch_size": list(patch_size)}
    if spacing is not None:
        _check_spacing(parent, thaw(spacing))
    topology = overrides_for_patch_size(parent, patch_size, spacing)
    complete: dict[str, Any] = {}
    for key in sorted(overrides, key=lambda key: key.partition(".")[0] == "architecture"):
        complete[key] = _merged(complete.get(key), overrides[key], key)
        if key == "patch_size":
            complete |= topology
    return complete


def derived_name(parent: ResolvedConfiguration, overrides: Mapping[str, Any]) -> str:
    """A name that says what is new: the parent's with network, batch size, spacing, patch size.

    Raises
    ------
    UsageError
        None of these is overridden.
    """
    network = new_network(parent, overrides)
    suffixes = [] if network is None else [network.rpartition(".")[2].strip("_")]
    suffixes += [
        f"{suffix}{_in_short(overrides[key])}"
        for key, suffix in _SUFFIXES.items()
        if key in overrides
    ]
    if not suffixes:
        raise UsageError(f"{', '.join(overrides)} alone does not suggest a name: give `name=`.")
    return "_".join([parent.name, *suffixes])


def derived_configuration(
    parent: ResolvedConfiguration,
    name: str,
    overrides: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """The child as it is to be written into the parent's plans.

    A network of another class than the parent's gets none of the parent's arguments.

    Raises
    ------
    PlansError
        The name is taken or cannot be used, or an override does not fit the parent.
    """
    _check_name(parent, name, overwrite=overwrite)
    inherited = parent.to_dict()
    network = new_network(parent, overrides)
    if network is not None:
        operators = [] if architecture_kind(network) == "other" else [*LAYERS]
        inherited["architecture"] = {
            "network_class_name": network,
            "arch_kwargs": {},
            "_kw_requires_import": operators,
        }
    child: dict[str, Any] = {INHERITS_FROM: parent.name}
    for key, value in overrides.items():
        head, value = _nested(name, key, value)
        try:
            child[head] = _merged(child.get(head, inherited.get(head)), thaw(value), head)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from None
    if "spacing" in child and "median_image_size_in_voxels" not in child:
        size = _median_size_at(parent, child["spacing"])
        if size != inherited["median_image_size_in_voxels"]:
            child["median_image_size_in_voxels"] = size
    changed = [key for key in PREPROCESSING_KEYS if key in child and child[key] != inherited[key]]
    if changed and "data_identifier" not in child:
        child["data_identifier"] = f"{parent.plans.name}_{name}"
    return child


def new_network(parent: ResolvedConfiguration, overrides: Mapping[str, Any]) -> str | None:
    """The class that the overrides name for the network; None where it is the parent's."""
    requested: Any = None
    for key, value in overrides.items():
        if key == "architecture.network_class_name":
            requested = value
        elif key == "architecture" and isinstance(value, Mapping):
            requested = value.get("network_class_name", requested)
    if not isinstance(requested, str):
        return None
    own = parent.architecture.network_class_name
    return None if is_same_network(requested, own) else requested


def _nested(name: str, key: str, value: Any) -> tuple[str, Any]:
    """The first part of a dotted key, and the value inside of objects for the other parts."""
    head, *rest = key.split(".")
    if not all((head, *rest)):
        raise ConfigurationError(f"{name}: {key!r} is not a key: a part of it is empty.")
    for part in reversed(rest):
        value = {part: value}
    return head, value


def _median_size_at(config: ResolvedConfiguration, spacing: Any) -> list[int | float]:
    """The median image size (voxels) of a configuration at another spacing (mm).

    nnU-Net rounds the resampled size of an image to whole voxels (compute_new_shape).
    """
    _check_spacing(config, spacing)
    return [
        size if old == new else round(size * old / new)
        for size, old, new in zip(
            config.median_image_size_in_voxels, config.spacing, spacing, strict=True
        )
    ]


def _check_spacing(config: ResolvedConfiguration, spacing: Any) -> None:
    if not isinstance(spacing, list) or len(spacing) != len(config.spacing):
        raise ConfigurationError(
            f"{config.name}: spacing: {counted(len(config.spacing), 'number is', 'numbers are')} "
            "needed, one per axis."
        )
    if not all(
        isinstance(value, int | float) and MIN_SPACING <= value <= MAX_SPACING for value in spacing
    ):
        raise ConfigurationError(
            f"{config.name}: spacing is {shown(spacing)}: every value must be positive, "
            f"in mm, from {MIN_SPACING:g} to {MAX_SPACING:g}."
        )


def _check_name(parent: ResolvedConfiguration, name: str, *, overwrite: bool) -> None:
    fault = fault_of_part(name)
    if fault is not None:
        raise PlansError(f"{name!r} cannot name a configuration: {fault}.")
    if "__" in name or any(c in name for c in ": "):
        raise PlansError(
            f"{name!r} cannot name a configuration: results folders are split at '__', and colons "
            "and blanks do not belong in a folder's name."
        )
    if name == parent.name:
        raise PlansError(
            f"{name}: a configuration cannot inherit from itself. Give the new one another name, "
            "or another parent."
        )
    if name in parent.plans.document["configurations"] and not overwrite:
        raise PlansError(
            f"{parent.plans.source}: has a configuration {name} already. "
            "Choose another name, or overwrite it."
        )


def _merged(inherited: Any, value: Any, key: str) -> Any:
    """`value`, merged into `inherited` where both are objects, of the same `name` if they have one.

    An optimizer or a schedule of another name has other keys.
    """
    if not isinstance(value, Mapping) or inherited is None:
        return value
    if not isinstance(inherited, Mapping):
        raise ConfigurationError(
            f"{key}: the parent's value is not an object, so nothing can be set inside it."
        )
    if "name" in value and value["name"] != inherited.get("name"):
        return value
    result = thaw(inherited)
    for inner, item in value.items():
        result[inner] = _merged(result.get(inner), item, f"{key}.{inner}")
    return result


def _is_sizes(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether a patch size is what one can compute with; types checks name what is not."""
    return isinstance(value, list | tuple) and all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in value
    )


def _in_short(value: Any) -> str:
    """A number, or sizes or spacings joined by x.

    >>> _in_short(16), _in_short([128, 96.5, 1.3780260484256488])
    ('16', '128x96.5x1.378')
    """
    if isinstance(value, list | tuple):
        return "x".join(_in_short(part) for part in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)
