"""Whether the network fits the patch, and its lists each other."""

import re
from collections.abc import Iterator

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ConfigurationError, DatasetError, NetworkError
from resenc_plans.plans.architectures import (
    LAYER_NAMES,
    LAYERS,
    OtherArchitecture,
    UNetArguments,
)
from resenc_plans.plans.checks.context import CheckContext, Violations
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.known_networks import check_patch, resolutions_of
from resenc_plans.plans.topology import MIN_EDGE, padded
from resenc_plans.plans.unet import UNet, length_problems, rare_arguments
from resenc_plans.reprs import listed, numbers
from resenc_plans.words import counted, suggestion

MAX_PADDING = 2
"""How much larger than the median image a patch may be before it is worth a warning."""


_OF_NORMS = ("affine", "eps", "momentum", "track_running_stats")
_USUAL_ARGUMENTS = {
    "InstanceNorm": _OF_NORMS,
    "BatchNorm": _OF_NORMS,
    "Dropout": ("p", "inplace"),
    "LeakyReLU": ("negative_slope", "inplace"),
    "ReLU": ("inplace",),
}
"""Arguments that layers take with any value from 0 to 1, false and true included."""


def patch_divisible(context: CheckContext) -> Violations:
    """Every stride must divide what is left of the patch on its axis."""
    for name, config, unet in _blueprints(context):
        for axis, (size, divisor) in enumerate(zip(config.patch_size, unet.divisor, strict=True)):
            if size % divisor:
                below, above = size // divisor * divisor, -(-size // divisor) * divisor
                sizes = f"{below} or {above}" if below else f"{above}"
                yield (
                    name,
                    "patch_size",
                    f"axis {axis} has {counted(size, 'voxel')}, which the strides' product "
                    f"{divisor} does not divide: the network would fail in its first forward. Use "
                    f"{sizes}.",
                )


def bottleneck_edge(context: CheckContext) -> Violations:
    """The bottleneck keeps at least 4 voxels on every axis that is pooled."""
    for name, config, unet in _blueprints(context):
        for axis, (size, divisor) in enumerate(zip(config.patch_size, unet.divisor, strict=True)):
            if divisor > 1 and size % divisor == 0 and size // divisor < MIN_EDGE:
                yield (
                    name,
                    "patch_size",
                    f"axis {axis}: the bottleneck is {counted(size // divisor, 'voxel')} wide; "
                    f"nnU-Net keeps at least {MIN_EDGE}. Enlarge the patch to {MIN_EDGE * divisor} "
                    "or use fewer strides there.",
                )


def stage_lengths(context: CheckContext) -> Violations:
    """Lists per stage and per axis have the lengths that n_stages and the patch ask for."""
    for name, config, arguments in _unets(context):
        for key, problem in length_problems(arguments, config.dim):
            yield name, f"architecture.arch_kwargs.{key}", problem


def dimensions(context: CheckContext) -> Violations:
    """Median size, convolution and patch have the same number of axes."""
    for name, config in context.resolved.items():
        sizes = len(config.median_image_size_in_voxels)
        if sizes != config.dim:
            yield (
                name,
                "median_image_size_in_voxels",
                f"has {counted(sizes, 'axis', 'axes')}, patch_size has {config.dim}.",
            )
    for name, config, arguments in _unets(context):
        if arguments.dim not in (None, config.dim):
            yield (
                name,
                "architecture.arch_kwargs.conv_op",
                f"{arguments.conv_op} works on {arguments.dim} axes, patch_size has {config.dim}.",
            )


def operators(context: CheckContext) -> Violations:
    """Norm and dropout work on as many axes as the patch has."""
    for name, config, arguments in _unets(context):
        for key in ("norm_op", "dropout_op"):
            written = getattr(arguments, key)
            match = re.search(r"([123])d$", written or "")
            if match and int(match[1]) != config.dim:
                yield (
                    name,
                    f"architecture.arch_kwargs.{key}",
                    f"{written} works on {match[1]} axes, patch_size has {config.dim}.",
                )


def single_stage(context: CheckContext) -> Violations:
    """Without a second stage there is no decoder, and nothing to train."""
    for name, _, arguments in _unets(context):
        if arguments.n_stages < 2:
            yield (
                name,
                "architecture.arch_kwargs.n_stages",
                "is 1: the network has no decoder. Use a larger patch, or more stages.",
            )


def architecture_keys(context: CheckContext) -> Violations:
    """What stands beside an architecture's class and arguments has no effect."""
    known = ("network_class_name", "arch_kwargs", "_kw_requires_import")
    for name, config in context.resolved.items():
        for key in config.architecture.model_extra or {}:
            yield (
                name,
                f"architecture.{key}",
                f"has no effect.{suggestion(key, known, likeness=0.75)}",
            )


def imported_classes(context: CheckContext) -> Violations:
    """nnU-Net imports what `_kw_requires_import` names, and nothing else."""
    for name, config in context.resolved.items():
        architecture, key = config.architecture, "architecture._kw_requires_import"
        written = config.to_dict()["architecture"].get("arch_kwargs", {})
        imported = architecture.kw_requires_import
        texts = [] if isinstance(architecture, OtherArchitecture) else [*LAYERS, "block"]
        missing = [key for key in texts if written.get(key) and key not in imported]
        absent = [key for key in imported if key not in written]
        if missing:
            yield name, key, f"lacks {listed(missing)}, so that nnU-Net cannot build the network."
        if absent:
            yield (
                name,
                key,
                f"has {listed(absent)}, no argument here, so nnU-Net cannot build the network.",
            )


def buildable(context: CheckContext) -> Violations:
    """The network can be built, and takes the patch; torch is needed for foreign classes only."""
    for name, config in context.resolved.items():
        architecture = config.architecture
        if isinstance(architecture, OtherArchitecture):
            yield from _foreign(context, config)
            continue
        arguments, inside = architecture.arch_kwargs, "architecture.arch_kwargs"
        rare = rare_arguments(arguments)
        known = (*type(arguments).model_fields, *sorted(rare))
        unknown = [key for key in arguments.model_extra or {} if key not in rare]
        for key in unknown:
            hint = suggestion(key, known, likeness=0.75)
            yield name, f"{inside}.{key}", f"is not an argument of the network.{hint}"
        if unknown or _is_contradictory(arguments, config.dim):
            continue
        if foreign_layers(arguments):
            yield from _foreign(context, config)
            continue
        try:
            unet = UNet.from_arguments(arguments, config.dim)
        except ConfigurationError as error:
            key, _, what = str(error).partition(" ")
            yield name, f"{inside}.{key}", what
            continue
        rule = unet.patch_rule
        fault = rule.fault(config.patch_size)
        if fault is not None and rule.divides(config.patch_size):
            yield name, "patch_size", fault
        elif max(unet.strides[0]) > 1:
            yield (
                name,
                f"{inside}.strides[0]",
                f"is {list(unet.strides[0])}: the output would be smaller than the patch. Use 1.",
            )
        elif fault is None and _has_rare_layers(arguments):
            yield from _foreign(context, config)


def patch_within_image(context: CheckContext) -> Violations:
    """A patch of over twice the median image, beyond rounding up to what strides divide."""
    written = context.document["configurations"]
    for name, config in context.resolved.items():
        median = config.median_image_size_in_voxels
        changed = written[name].keys() & {"patch_size", "spacing", "median_image_size_in_voxels"}
        if not changed or len(median) != config.dim:
            continue
        try:
            divisor = resolutions_of(config).patch_rule.multiples
        except ConfigurationError:
            continue
        limits = [
            max(MAX_PADDING * size, rounded)
            for size, rounded in zip(median, padded(median, divisor), strict=True)
        ]
        if any(size > limit for size, limit in zip(config.patch_size, limits, strict=True)):
            yield (
                name,
                "patch_size",
                f"is {numbers(config.patch_size)}, larger than the median image of "
                f"{numbers(median)} voxels at this spacing: most of each patch is padding.",
            )


def foreign_layers(arguments: UNetArguments) -> tuple[str, ...]:
    """The layer classes of a U-Net that can only be imported."""
    named = {argument: getattr(arguments, argument) for argument in LAYERS}
    return tuple(
        layer for argument, layer in named.items() if layer and layer not in LAYER_NAMES[argument]
    )


def _has_rare_layers(arguments: UNetArguments) -> bool:
    """Whether layers have arguments of which only building them shows that they take them."""
    for argument in ("norm_op", "dropout_op", "nonlin"):
        layer, values = getattr(arguments, argument), getattr(arguments, f"{argument}_kwargs")
        if layer is None or not values:
            continue
        usual = _USUAL_ARGUMENTS.get(re.sub(r"[123]d$", "", layer.rpartition(".")[2]), ())
        if not all(key in usual and _is_share(value) for key, value in values.items()):
            return True
    return False


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _foreign(context: CheckContext, config: ResolvedConfiguration) -> Violations:
    """What a network has against its patch, and where it may be imported, why it does not work."""
    try:
        if context.check_network is None:
            check_patch(config)
        else:
            context.check_network(config, *_channels_and_heads(context, config))
    except (ConfigurationError, NetworkError) as error:
        what = str(error).removeprefix(f"{config.plans.source}: {config.name}: ")
        key, _, rest = what.partition(" ")
        is_key = key.rstrip(":").split(".")[0] in ("architecture", "patch_size")
        yield config.name, *((key.rstrip(":"), rest) if is_key else ("architecture", what))


def _channels_and_heads(context: CheckContext, config: ResolvedConfiguration) -> tuple[int, int]:
    """What the dataset asks of the network; two heads where it is not known."""
    try:
        labels = None if context.dataset is None else Labels.from_dataset(context.dataset)
    except DatasetError:
        labels = None
    if labels is None:
        return len(config.normalization_schemes) + (config.previous_stage is not None), 2
    return input_channels(config, labels), labels.num_heads


def _is_contradictory(arguments: UNetArguments, dim: int) -> bool:
    """Whether other rules already have something against the arguments."""
    return (
        arguments.n_stages < 2
        or arguments.dim not in (None, dim)
        or any(length_problems(arguments, dim))
    )


def _unets(context: CheckContext) -> Iterator[tuple[str, ResolvedConfiguration, UNetArguments]]:
    for name, config in context.resolved.items():
        architecture = config.architecture
        if not isinstance(architecture, OtherArchitecture):
            yield name, config, architecture.arch_kwargs


def _blueprints(context: CheckContext) -> Iterator[tuple[str, ResolvedConfiguration, UNet]]:
    """The U-Nets whose arguments agree with each other; the others have findings of their own."""
    for name, config, arguments in _unets(context):
        try:
            yield name, config, UNet.from_arguments(arguments, config.dim)
        except ConfigurationError:
            continue
