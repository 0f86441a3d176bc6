"""From a patch size and a spacing to a U-Net's strides and kernel sizes.

nnU-Net's rule (get_pool_and_conv_props): pool every axis whose spacing is within a factor of two
of the finest that can still be pooled, until no axis has twice the smallest edge left; an axis that
would be pooled alone needs three times the edge. A kernel covers 3 voxels on an axis as soon as its
spacing is within a factor of two of the finest.
"""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.architectures import OtherArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.words import counted

MIN_EDGE = 4
"""Voxels that the bottleneck keeps on every axis."""

MIN_BATCH_SIZE = 2
"""The smallest batch that nnU-Net plans."""

LOWRES_THRESHOLD = 0.25
"""3d_lowres is planned where a patch covers less of the median image than this."""
MIN_LOWRES_GAIN = 2
"""3d_lowres is dropped where it has not at least this many times fewer voxels."""

BASE_FEATURES = 32
TOP_FEATURES = {2: 512, 3: 320}
"""Features of the first stage, doubled from stage to stage up to the maximum for 2 or 3 axes."""


Sizes = tuple[tuple[int, ...], ...]
"""One number per stage and axis, highest resolution first."""


def why_no_lowres(fullres: ResolvedConfiguration) -> str:
    """Why plans with this 3d_fullres have no 3d_lowres, and so no cascade."""
    voxels = prod(fullres.median_image_size_in_voxels)
    share = prod(fullres.patch_size) / voxels if voxels else 1.0
    if share >= LOWRES_THRESHOLD:
        return (
            f"nnU-Net plans 3d_lowres where a patch of 3d_fullres covers less than "
            f"{LOWRES_THRESHOLD:.0%} of the median image; here it covers {share:.0%}."
        )
    return (
        f"nnU-Net plans 3d_lowres where it has at least {MIN_LOWRES_GAIN} times fewer voxels than "
        "3d_fullres."
    )


def strides_and_kernels(
    spacing: Sequence[float], patch_size: Sequence[int | float]
) -> tuple[Sizes, Sizes]:
    """Strides and kernel sizes for a patch (voxels) at a spacing (mm), axes in the plans' order.

    >>> strides_and_kernels((1, 1, 1), (40, 56, 40))[0]
    ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    """
    axes = range(len(spacing))
    spacings = list(spacing)
    sizes = list(patch_size)
    kernel = [1] * len(spacing)
    strides: list[tuple[int, ...]] = [(1,) * len(spacing)]
    kernels: list[tuple[int, ...]] = []
    while True:
        large = [axis for axis in axes if sizes[axis] >= 2 * MIN_EDGE]
        if not large:
            break
        finest = min([spacings[axis] for axis in large])
        pooled = [axis for axis in large if spacings[axis] / finest < 2]
        if len(pooled) == 1 and sizes[pooled[0]] < 3 * MIN_EDGE:
            break
        finest = min(spacings)
        stride = [1] * len(spacing)
        for axis in axes:
            if spacings[axis] / finest < 2:
                kernel[axis] = 3
        for axis in pooled:
            stride[axis] = 2
            spacings[axis] *= 2
            sizes[axis] = ceil(sizes[axis] / 2)
        strides.append(tuple(stride))
        kernels.append(tuple(kernel))
    kernels.append((3,) * len(spacing))
    return tuple(strides), tuple(kernels)


def divisor_of(strides: Sizes) -> tuple[int, ...]:
    """The product of the strides on each axis.

    >>> divisor_of(((1, 1), (2, 2), (1, 2)))
    (2, 4)
    """
    return tuple(prod(axis) for axis in zip(*strides, strict=True))


def padded(patch_size: Sequence[int | float], divisor: Sequence[int]) -> tuple[int, ...]:
    """The patch size rounded up to a multiple of `divisor`.

    >>> padded((20, 30), (4, 4))
    (20, 32)
    """
    return tuple(
        ceil(size / factor) * factor for size, factor in zip(patch_size, divisor, strict=True)
    )


def overrides_for_patch_size(
    config: ResolvedConfiguration,
    patch_size: Sequence[int],
    spacing: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What a configuration derived for another patch size has to override.

    The topology is computed anew for `patch_size` (voxels) at `spacing` (mm; the parent's if None),
    sizes are rounded up to what it divides, and the lists per stage follow: features doubled up to
    the parent's maximum, blocks continued with the parent's last.

    Raises
    ------
    ConfigurationError
        The number of axes differs, or the network is not one of nnU-Net's U-Nets.
    """
    architecture = config.architecture
    if isinstance(architecture, OtherArchitecture):
        raise ConfigurationError(
            f"{config.name}: the topology of {architecture.network_class_name} is not known. "
            "Override patch_size and the network's arguments that depend on it one by one."
        )
    if len(patch_size) != config.dim:
        raise ConfigurationError(
            f"{config.name}: patch_size has {counted(len(patch_size), 'axis', 'axes')}, but needs "
            f"{config.dim} numbers."
        )
    strides, kernels = strides_and_kernels(spacing or config.spacing, patch_size)
    arguments = architecture.arch_kwargs
    stages = len(strides)
    changes: dict[str, Any] = {"patch_size": list(padded(patch_size, divisor_of(strides)))}
    new = {
        "n_stages": stages,
        "features_per_stage": _features(arguments.features_per_stage, stages, config.dim),
        "kernel_sizes": [list(kernel) for kernel in kernels],
        "strides": [list(stride) for stride in strides],
        "n_conv_per_stage_decoder": _continued(arguments.n_conv_per_stage_decoder, stages - 1),
    }
    key = "n_blocks_per_stage" if hasattr(arguments, "n_blocks_per_stage") else "n_conv_per_stage"
    new[key] = _continued(getattr(arguments, key), stages)
    written = config.to_dict()["architecture"]["arch_kwargs"]
    if any(written[name] != value for name, value in new.items()):
        changes["architecture"] = {"arch_kwargs": new}
    return changes


def _continued(values: int | tuple[int, ...], length: int) -> Any:
    """Per-stage values cut to `length` or continued with the last; one number stands for all."""
    if isinstance(values, int):
        return values
    return [values[min(stage, len(values) - 1)] for stage in range(length)]


def _features(values: int | tuple[int, ...], stages: int, dim: int) -> Any:
    """Features per stage, doubled where the parent ends, up to its plateau or nnU-Net's cap."""
    if isinstance(values, int):
        return values
    on_plateau = len(values) > 1 and values[-1] < 2 * values[-2]
    cap = values[-1] if on_plateau else max(values[-1], TOP_FEATURES[dim])
    result = list(values[:stages])
    while len(result) < stages:
        result.append(min(2 * result[-1], cap))
    return result
