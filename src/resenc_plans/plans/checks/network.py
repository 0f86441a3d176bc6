"""Whether the network fits the patch, and its lists each other."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.architectures import OtherArchitecture, UNetArguments
from resenc_plans.plans.checks.context import CheckContext, Violations
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.topology import MIN_EDGE
from resenc_plans.plans.unet import UNet, length_problems, rare_arguments


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
                    f"axis {axis} has {size} voxels, which the strides' product {divisor} does "
                    f"not divide: the network would fail in its first forward. Use {sizes}.",
                )


def bottleneck_edge(context: CheckContext) -> Violations:
    """The bottleneck keeps at least 4 voxels on every axis that is pooled."""
    for name, config, unet in _blueprints(context):
        for axis, (size, divisor) in enumerate(zip(config.patch_size, unet.divisor, strict=True)):
            if divisor > 1 and size % divisor == 0 and size // divisor < MIN_EDGE:
                yield (
                    name,
                    "patch_size",
                    f"axis {axis}: the bottleneck is {size // divisor} voxels wide; nnU-Net keeps "
                    f"at least {MIN_EDGE}. Enlarge the patch to {MIN_EDGE * divisor} or use fewer "
                    "strides there.",
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
                f"has {sizes} axes, patch_size has {config.dim}.",
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


def network_arguments(context: CheckContext) -> Violations:
    """An argument that the network does not take fails when it is built."""
    for name, config in context.resolved.items():
        architecture = config.architecture
        unknown = [("architecture", key) for key in architecture.model_extra or {}]
        known = {"architecture": ["network_class_name", "arch_kwargs", "_kw_requires_import"]}
        if not isinstance(architecture, OtherArchitecture):
            arguments = architecture.arch_kwargs
            inside = "architecture.arch_kwargs"
            rare = rare_arguments(arguments)
            known[inside] = [*type(arguments).model_fields, *sorted(rare)]
            unknown += [(inside, key) for key in arguments.model_extra or {} if key not in rare]
        for place, key in unknown:
            close = get_close_matches(key, known[place], n=1, cutoff=0.75)
            hint = f" Did you mean {close[0]}?" if close else ""
            yield name, f"{place}.{key}", f"is not an argument of the network.{hint}"


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
