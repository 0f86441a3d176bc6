"""The layout of a U-Net, stage by stage, from the arguments that a plans file gives; no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.architectures import UNetArguments
from resenc_plans.plans.configuration import ResolvedConfiguration

PerStage = int | Sequence[int]
PerStageAndAxis = int | Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class UNetLayout:
    """What each stage of a U-Net looks like, highest resolution first.

    `encoder_depths` are residual blocks or convolutions per encoder stage. The decoder has one
    stage fewer; `decoder_depths` begins with the lowest resolution, as the argument does.
    """

    features: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Number of image axes."""
        return len(self.strides[0])

    @property
    def n_stages(self) -> int:
        """Number of encoder stages, the bottleneck included."""
        return len(self.features)

    @property
    def divisor(self) -> tuple[int, ...]:
        """What the input's size must be a multiple of, per axis.

        A stride in the first stage divides too, but no skip connection has to fit across it.
        """
        return tuple(prod(axis) for axis in zip(*self.strides, strict=True))


def unet_layout(
    dim: int,
    n_stages: int,
    features_per_stage: PerStage,
    kernel_sizes: PerStageAndAxis,
    strides: PerStageAndAxis,
    depths: PerStage,
    n_conv_per_stage_decoder: PerStage,
    depths_key: str = "n_blocks_per_stage",
) -> UNetLayout:
    """Fill in what the arguments leave implicit: a single number counts for every stage and axis.

    >>> unet_layout(2, 3, [8, 16, 32], 3, [1, 2, (2, 1)], 2, 1).strides
    ((1, 1), (2, 2), (2, 1))

    Raises
    ------
    ConfigurationError
        A list has another length than the network has stages or axes, or a value is not a
        positive integer. The message begins with the argument's name.
    """
    if not _is_count(n_stages) or n_stages < 2:
        raise ConfigurationError(f"n_stages is {n_stages!r}: a U-Net has at least 2 stages.")
    return UNetLayout(
        features=per_stage("features_per_stage", features_per_stage, n_stages),
        kernel_sizes=_per_stage_and_axis("kernel_sizes", kernel_sizes, n_stages, dim),
        strides=_per_stage_and_axis("strides", strides, n_stages, dim),
        encoder_depths=per_stage(depths_key, depths, n_stages),
        decoder_depths=per_stage(
            "n_conv_per_stage_decoder", n_conv_per_stage_decoder, n_stages - 1, "decoder stages"
        ),
    )


def layout_of(config: ResolvedConfiguration) -> UNetLayout:
    """The layout of a configuration's U-Net, checked against its patch size.

    Raises
    ------
    ConfigurationError
        The configuration names another network, or its arguments contradict each other or the
        patch; the message names file, configuration and key.
    """
    arguments = config.architecture.arch_kwargs
    if not isinstance(arguments, UNetArguments):
        raise fault(
            config,
            f"architecture.network_class_name is {config.architecture.network_class_name}, "
            "which is not one of nnU-Net's U-Nets.",
        )
    if arguments.dim != config.dim:
        raise fault(
            config,
            f"architecture.arch_kwargs.conv_op is {arguments.conv_op}, but patch_size has "
            f"{config.dim} axes. Use torch.nn.modules.conv.Conv{config.dim}d.",
        )
    key = "n_blocks_per_stage" if hasattr(arguments, "n_blocks_per_stage") else "n_conv_per_stage"
    try:
        layout = unet_layout(
            config.dim,
            arguments.n_stages,
            arguments.features_per_stage,
            arguments.kernel_sizes,
            arguments.strides,
            getattr(arguments, key),
            arguments.n_conv_per_stage_decoder,
            key,
        )
    except ConfigurationError as error:
        raise fault(config, f"architecture.arch_kwargs.{error}") from None
    check_patch(config, layout.divisor)
    return layout


def check_patch(config: ResolvedConfiguration, divisor: Sequence[int]) -> None:
    """Refuse a configuration whose patch size is not a multiple of `divisor`, axis by axis.

    Raises
    ------
    ConfigurationError
        As said; the message proposes the nearest patch size that is.
    """
    patch = config.patch_size
    if any(size % factor for size, factor in zip(patch, divisor, strict=True)):
        nearest = [
            max(1, round(size / factor)) * factor
            for size, factor in zip(patch, divisor, strict=True)
        ]
        raise fault(
            config,
            f"patch_size {list(patch)} is not a multiple of {list(divisor)}, by which the network "
            f"divides it. The nearest that is: {nearest}.",
        )


def fault(config: ResolvedConfiguration, sentence: str) -> ConfigurationError:
    """An error about a configuration that names it, and the file where that is known."""
    plans = getattr(config, "_plans", None)
    source = f"{plans.source}: " if plans is not None else ""
    return ConfigurationError(f"{source}{config.name}: {sentence}")


def per_stage(key: str, value: Any, n_stages: int, stages: str = "stages") -> tuple[int, ...]:
    """One count per stage, of a number for all or a list.

    Raises
    ------
    ConfigurationError
        The list has another length, or an entry is not a positive integer.
    """
    values = _repeated(key, value, n_stages, stages)
    if not all(_is_count(entry) for entry in values):
        raise ConfigurationError(f"{key} is {value!r}: every entry must be a positive integer.")
    return values


def _per_stage_and_axis(key: str, value: Any, n_stages: int, dim: int) -> tuple[Any, ...]:
    return tuple(
        per_stage(f"{key}[{stage}]", entry, dim, "image axes")
        for stage, entry in enumerate(_repeated(key, value, n_stages, "stages"))
    )


def _repeated(key: str, value: Any, length: int, what: str) -> tuple[Any, ...]:
    if isinstance(value, int):
        return (value,) * length
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigurationError(f"{key} is {value!r}: a number or a list is expected.")
    if len(value) != length:
        raise ConfigurationError(
            f"{key} has {len(value)} entries, but the network has {length} {what}."
        )
    return tuple(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
