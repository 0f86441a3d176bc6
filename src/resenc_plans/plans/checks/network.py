"""Whether the network fits the patch, and its lists each other."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import zip_longest
from math import prod

from resenc_plans.plans.architectures import OtherArchitecture, UNetArguments
from resenc_plans.plans.checks.findings import Found, Subject
from resenc_plans.plans.configuration import ResolvedConfiguration

OTHER_ARGUMENTS = (
    "block",
    "bottleneck_channels",
    "deep_supervision",
    "nonlin_first",
    "squeeze_excitation",
    "squeeze_excitation_reduction_ratio",
    "stem_channels",
    "stochastic_depth_p",
)
"""Arguments of nnU-Net's U-Nets and encoders that plans rarely have."""


def patch_divisible(subject: Subject) -> Found:
    """Every stride must divide what is left of the patch on its axis."""
    for name, config, arguments in _unets(subject):
        strides = _per_axis(arguments.strides, config.dim)
        for axis, size in enumerate(config.patch_size):
            divisor = prod(stride[axis] for stride in strides)
            if size % divisor:
                below, above = size // divisor * divisor, -(-size // divisor) * divisor
                sizes = f"{below} or {above}" if below else f"{above}"
                yield (
                    name,
                    "patch_size",
                    f"axis {axis} has {size} voxels, which the strides' product {divisor} does "
                    f"not divide: the network would fail in its first forward. Use {sizes}.",
                )


def bottleneck_edge(subject: Subject) -> Found:
    """The bottleneck keeps at least 4 voxels on every axis that is pooled."""
    for name, config, arguments in _unets(subject):
        strides = _per_axis(arguments.strides, config.dim)
        for axis, size in enumerate(config.patch_size):
            factor = prod(stride[axis] for stride in strides)
            if factor > 1 and size % factor == 0 and size // factor < 4:
                yield (
                    name,
                    "patch_size",
                    f"axis {axis}: the bottleneck is {size // factor} voxels wide; nnU-Net keeps "
                    f"at least 4. Enlarge the patch to {4 * factor} or use fewer strides there.",
                )


def stage_lengths(subject: Subject) -> Found:
    """Lists per stage and per axis have the lengths that n_stages and the patch ask for."""
    for name, config, arguments in _unets(subject):
        wanted = {
            "features_per_stage": arguments.n_stages,
            "kernel_sizes": arguments.n_stages,
            "strides": arguments.n_stages,
            "n_blocks_per_stage": arguments.n_stages,
            "n_conv_per_stage": arguments.n_stages,
            "n_conv_per_stage_decoder": arguments.n_stages - 1,
        }
        for key, length in wanted.items():
            value = getattr(arguments, key, None)
            if isinstance(value, tuple) and len(value) != length:
                yield (
                    name,
                    f"architecture.arch_kwargs.{key}",
                    f"has {len(value)} entries, {length} are needed for n_stages "
                    f"{arguments.n_stages}.",
                )
        for key in ("kernel_sizes", "strides"):
            value = getattr(arguments, key)
            if isinstance(value, tuple):
                for stage, entry in enumerate(value):
                    if isinstance(entry, tuple) and len(entry) != config.dim:
                        yield (
                            name,
                            f"architecture.arch_kwargs.{key}[{stage}]",
                            f"has {len(entry)} axes, patch_size has {config.dim}.",
                        )


def dimensions(subject: Subject) -> Found:
    """Median size, convolution and patch have the same number of axes."""
    for name, config in subject.resolved.items():
        sizes = len(config.median_image_size_in_voxels)
        if sizes != config.dim:
            yield (
                name,
                "median_image_size_in_voxels",
                f"has {sizes} axes, patch_size has {config.dim}.",
            )
    for name, config, arguments in _unets(subject):
        if arguments.dim not in (None, config.dim):
            yield (
                name,
                "architecture.arch_kwargs.conv_op",
                f"{arguments.conv_op} works on {arguments.dim} axes, patch_size has {config.dim}.",
            )


def operators(subject: Subject) -> Found:
    """Norm and dropout work on as many axes as the patch has."""
    for name, config, arguments in _unets(subject):
        for key in ("norm_op", "dropout_op"):
            written = getattr(arguments, key)
            match = re.search(r"([123])d$", written or "")
            if match and int(match[1]) != config.dim:
                yield (
                    name,
                    f"architecture.arch_kwargs.{key}",
                    f"{written} works on {match[1]} axes, patch_size has {config.dim}.",
                )


def single_stage(subject: Subject) -> Found:
    """Without a second stage there is no decoder, and nothing to train."""
    for name, _, arguments in _unets(subject):
        if arguments.n_stages < 2:
            yield (
                name,
                "architecture.arch_kwargs.n_stages",
                "is 1: the network has no decoder. Use a larger patch, or more stages.",
            )


def network_arguments(subject: Subject) -> Found:
    """An argument that the network does not take fails when it is built."""
    for name, config in subject.resolved.items():
        architecture = config.architecture
        found = [("architecture", key) for key in architecture.model_extra or {}]
        known = {"architecture": ["network_class_name", "arch_kwargs", "_kw_requires_import"]}
        if not isinstance(architecture, OtherArchitecture):
            arguments = architecture.arch_kwargs
            inside = "architecture.arch_kwargs"
            known[inside] = [*type(arguments).model_fields, *OTHER_ARGUMENTS]
            extra = arguments.model_extra or {}
            found += [(inside, key) for key in extra if key not in OTHER_ARGUMENTS]
        for place, key in found:
            close = get_close_matches(key, known[place], n=1, cutoff=0.75)
            hint = f" Did you mean {close[0]}?" if close else ""
            yield name, f"{place}.{key}", f"is not an argument of the network.{hint}"


def _unets(subject: Subject) -> Iterator[tuple[str, ResolvedConfiguration, UNetArguments]]:
    for name, config in subject.resolved.items():
        architecture = config.architecture
        if not isinstance(architecture, OtherArchitecture):
            yield name, config, architecture.arch_kwargs


def _per_axis(
    strides: int | tuple[int | tuple[int, ...], ...], dim: int
) -> tuple[tuple[int, ...], ...]:
    """Strides with one number per stage and axis, whichever short form they are written in."""
    if isinstance(strides, int):
        return ()
    return tuple(
        (stride,) * dim if isinstance(stride, int) else _padded(stride, dim) for stride in strides
    )


def _padded(stride: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return tuple(value or 1 for value, _ in zip_longest(stride[:dim], range(dim)))
