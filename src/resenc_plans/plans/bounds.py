"""Which numbers a configuration can run with; others are kept in the file, but do not resolve.

Nobody trains beyond these, and below them no sum overflows and no network is too long to count.
"""

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, cast

from resenc_plans.datasets.bounds import MAX_EDGE, MAX_SPACING, MIN_SPACING
from resenc_plans.errors import shown
from resenc_plans.plans.architectures import MAX_STAGES, UNetArguments
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.header import PlansHeader

MAX_BATCH = 1_000_000
MAX_FEATURES = 65_536
"""Features of a stage, and of its stem and bottleneck."""
MAX_DEPTH = 128
"""Blocks or convolutions of a stage."""
MAX_SIZE = 256
"""Of a kernel, or of a stride, along an axis."""

_ARGUMENTS = {
    "n_stages": MAX_STAGES,
    "features_per_stage": MAX_FEATURES,
    "kernel_sizes": MAX_SIZE,
    "strides": MAX_SIZE,
    "n_blocks_per_stage": MAX_DEPTH,
    "n_conv_per_stage": MAX_DEPTH,
    "n_conv_per_stage_decoder": MAX_DEPTH,
    "stem_channels": MAX_FEATURES,
    "bottleneck_channels": MAX_FEATURES,
}
"""The largest value of each argument of nnU-Net's U-Nets; their types say that 1 is the least."""


def count_fault(**counts: object) -> str | None:
    """What is wrong with the first number of channels or heads that no network can have.

    >>> count_fault(input_channels=2, output_heads="3")
    "output_heads is '3': an integer from 1 to 65,536 is needed."
    """
    for key, count in counts.items():
        is_integer = isinstance(count, Integral) and not isinstance(count, bool)
        if not is_integer or not 1 <= int(cast("int", count)) <= MAX_FEATURES:
            return f"{key} is {shown(count)}: an integer from 1 to {MAX_FEATURES:,} is needed."
    return None


def number_faults(config: ResolvedConfiguration, plans: PlansHeader) -> Iterator[str]:
    """One sentence for each key with a number that nobody can mean."""
    shape = plans.original_median_shape_after_transp
    bounds: list[tuple[str, Any, float, float]] = [
        ("batch_size", config.batch_size, 1, MAX_BATCH),
        ("patch_size", config.patch_size, 1, MAX_EDGE),
        ("median_image_size_in_voxels", config.median_image_size_in_voxels, 0, MAX_EDGE),
        ("spacing", config.spacing, MIN_SPACING, MAX_SPACING),
        ("original_median_shape_after_transp of the file", shape or (), 0, MAX_EDGE),
    ]
    arguments = config.architecture.arch_kwargs
    if isinstance(arguments, UNetArguments):
        written: Mapping[str, Any] = {**dict(arguments), **(arguments.model_extra or {})}
        bounds += [
            (f"architecture.arch_kwargs.{key}", written.get(key), 1, largest)
            for key, largest in _ARGUMENTS.items()
        ]
    for key, value, least, largest in bounds:
        if any(not least <= number <= largest for number in _numbers(value)):
            yield f"{key} is {shown(value)}: numbers from {least:g} to {largest:,g} can be meant"


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in lists of any depth; what is no number is somebody else's fault to find."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
