"""The blueprint of nnU-Net's two U-Nets: what a configuration says of them, read in one place.

Cost, networks, checks and planning take it. Arguments mean what they mean to `ResidualEncoderUNet`
and `PlainConvUNet` of dynamic-network-architectures 0.4.4.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, Self

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.architectures import (
    PerStage,
    PlainConvUNetArguments,
    ResidualEncoderUNetArguments,
    UNetArguments,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.frozen import FrozenDict
from resenc_plans.plans.patch_rule import PatchRule
from resenc_plans.plans.topology import Sizes, divisor_of
from resenc_plans.words import counted

Kind = Literal["residual", "plain"]

NO_ARGUMENTS = FrozenDict({})

_BLOCKS = "dynamic_network_architectures.building_blocks.residual"
BASIC_BLOCKS = ("BasicBlockD", f"{_BLOCKS}.BasicBlockD")
BOTTLENECK_BLOCKS = ("BottleneckD", f"{_BLOCKS}.BottleneckD")
"""The names of a residual encoder's two kinds of blocks, short and full."""

MAX_RATIO = 16
"""Channels of a squeeze and excitation, relative to those of its block."""

_RARE_IN_RESIDUAL = frozenset(
    {
        "block",
        "bottleneck_channels",
        "squeeze_excitation",
        "squeeze_excitation_reduction_ratio",
        "stem_channels",
        "stochastic_depth_p",
    }
)
_RARE_IN_PLAIN = frozenset({"nonlin_first"})


@dataclass(frozen=True)
class Operators:
    """What a network's layers are: class names by their import path, with their arguments.

    `nonlin_first` is whether the activation precedes the normalisation.
    """

    conv_op: str
    conv_bias: bool = False
    norm_op: str | None = None
    norm_op_kwargs: FrozenDict = NO_ARGUMENTS
    dropout_op: str | None = None
    dropout_op_kwargs: FrozenDict = NO_ARGUMENTS
    nonlin: str | None = None
    nonlin_kwargs: FrozenDict = NO_ARGUMENTS
    nonlin_first: bool = False


@dataclass(frozen=True)
class ResidualBlocks:
    """How the blocks of a residual encoder are built, beyond their two convolutions.

    `bottleneck_channels` (one number per encoder stage) makes them bottlenecks of that many
    channels. `stochastic_depth_p` is the probability that a block is skipped in training (Huang et
    al. 2016). `squeeze_excitation_ratio` is the reduction of a squeeze and excitation (Hu et al.
    2018), None without.
    """

    bottleneck_channels: tuple[int, ...] | None = None
    stochastic_depth_p: float = 0.0
    squeeze_excitation_ratio: float | None = None


@dataclass(frozen=True)
class UNet:
    """One of nnU-Net's U-Nets, stage by stage, highest resolution first.

    `strides` and `kernel_sizes` have one tuple per encoder stage, one number per axis; `features`
    and `blocks` one number per encoder stage (blocks are residual blocks, or convolutions of a
    plain encoder); `decoder_convolutions` one per decoder stage, the lowest resolution first. A
    residual encoder begins with a stem of one convolution.
    """

    kind: Kind
    strides: Sizes
    kernel_sizes: Sizes
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    operators: Operators
    stem_channels: int | None = None
    """Features of the stem; None are those of the first stage."""
    residual_blocks: ResidualBlocks = ResidualBlocks()

    @classmethod
    def of(cls, config: ResolvedConfiguration) -> Self:
        """The U-Net of a configuration, checked against its patch size.

        Raises
        ------
        ConfigurationError
            The configuration names another network, or its arguments contradict each other or the
            patch; the message names file, configuration and key.
        """
        arguments = config.architecture.arch_kwargs
        if not isinstance(arguments, UNetArguments):
            raise config.error(
                f"architecture.network_class_name is {config.architecture.network_class_name}, "
                "which is not one of nnU-Net's U-Nets."
            )
        try:
            unet = cls.from_arguments(arguments, config.dim)
        except ConfigurationError as error:
            raise config.error(f"architecture.arch_kwargs.{error}") from None
        fault = unet.patch_rule.fault(config.patch_size)
        if fault is not None:
            raise config.error(f"patch_size {list(config.patch_size)} {fault}")
        return unet

    @classmethod
    def from_arguments(cls, arguments: UNetArguments, dim: int) -> Self:
        """The U-Net that the arguments describe for images of `dim` axes.

        Raises
        ------
        ConfigurationError
            The arguments contradict each other. The message begins with an argument's name.
        """
        if arguments.dim != dim:
            raise ConfigurationError(
                f"conv_op is {arguments.conv_op}, but patch_size has {dim} axes. "
                f"Use torch.nn.modules.conv.Conv{dim}d."
            )
        stages = arguments.n_stages
        if stages < 2:
            raise ConfigurationError(f"n_stages is {stages}: a U-Net has at least 2 stages.")
        for key, problem in length_problems(arguments, dim):
            raise ConfigurationError(f"{key} {problem}")
        residual = isinstance(arguments, ResidualEncoderUNetArguments)
        extra: Mapping[str, Any] = arguments.model_extra or {}
        stem = extra.get("stem_channels")
        unet = cls(
            kind="residual" if residual else "plain",
            strides=per_stage_and_axis("strides", arguments.strides, stages, dim),
            kernel_sizes=per_stage_and_axis("kernel_sizes", arguments.kernel_sizes, stages, dim),
            features=per_stage("features_per_stage", arguments.features_per_stage, stages),
            blocks=per_stage(*_blocks(arguments), stages),
            decoder_convolutions=per_stage(
                "n_conv_per_stage_decoder", arguments.n_conv_per_stage_decoder, stages - 1
            ),
            operators=_operators(arguments, extra),
            stem_channels=None if stem is None else per_stage("stem_channels", stem, 1)[0],
            residual_blocks=_residual_blocks(extra, stages),
        )
        unet._refuse_shrinking_kernels()
        return unet

    @property
    def dim(self) -> int:
        """Number of image axes: 2 or 3."""
        return len(self.strides[0])

    @property
    def n_stages(self) -> int:
        """Number of encoder stages, the bottleneck included."""
        return len(self.strides)

    @property
    def stem_features(self) -> int:
        """Features of the stem, if the network has one."""
        return self.features[0] if self.stem_channels is None else self.stem_channels

    @cached_property
    def divisor(self) -> tuple[int, ...]:
        """What the patch's size must be a multiple of, per axis.

        A stride in the first stage divides too, but no skip connection has to fit across it.
        """
        return divisor_of(self.strides)

    @property
    def patch_rule(self) -> PatchRule:
        """The patch sizes that the network takes."""
        is_instance = "InstanceNorm" in (self.operators.norm_op or "")
        return PatchRule(self.divisor, 2 if is_instance else 1)

    def _refuse_shrinking_kernels(self) -> None:
        """Refuse even kernel sizes, but where a stride leaves the voxel out that they lose.

        With (k - 1) // 2 zeros around its input, a convolution of an even size and a stride of 1
        returns one voxel less than it takes, so that skip connections do not fit. The decoder uses
        the kernels of all stages but the lowest.
        """
        convolutions = self.blocks[-1]
        if self.kind == "residual" and self.residual_blocks.bottleneck_channels is None:
            convolutions *= 2
        for stage, (kernel, stride) in enumerate(
            zip(self.kernel_sizes, self.strides, strict=True), 1
        ):
            for size, step in zip(kernel, stride, strict=True):
                is_kept = stage == self.n_stages and convolutions == 1 and step > 1
                if size % 2 == 0 and not is_kept:
                    raise ConfigurationError(
                        f"kernel_sizes[{stage - 1}] is {list(kernel)}: a convolution of an even "
                        "size loses a voxel, so that nothing fits to its skip connection. Use odd "
                        "sizes, such as 3."
                    )

    def shapes(self, patch_size: Sequence[int]) -> Sizes:
        """Voxels per axis of each encoder stage's feature maps, for a patch of `patch_size`.

        Where a stride does not divide, the rest is dropped.
        """
        shapes, shape = [], tuple(patch_size)
        for stride in self.strides:
            shape = tuple(size // step for size, step in zip(shape, stride, strict=True))
            shapes.append(shape)
        return tuple(shapes)


def rare_arguments(arguments: UNetArguments) -> frozenset[str]:
    """Arguments that the network takes and plans rarely have.

    `deep_supervision` is among them, but the training decides about it.
    """
    residual = isinstance(arguments, ResidualEncoderUNetArguments)
    return (_RARE_IN_RESIDUAL if residual else _RARE_IN_PLAIN) | {"deep_supervision"}


def length_problems(arguments: UNetArguments, dim: int) -> Iterator[tuple[str, str]]:
    """Lists that do not have one entry per stage or axis: the argument, and what is wrong."""
    stages = arguments.n_stages
    blocks_key, blocks = _blocks(arguments)
    for key, value, length in (
        ("features_per_stage", arguments.features_per_stage, stages),
        ("kernel_sizes", arguments.kernel_sizes, stages),
        ("strides", arguments.strides, stages),
        (blocks_key, blocks, stages),
        ("n_conv_per_stage_decoder", arguments.n_conv_per_stage_decoder, stages - 1),
    ):
        if isinstance(value, tuple) and len(value) != length:
            yield (
                key,
                f"has {counted(len(value), 'entry', 'entries')}, {length} are needed for n_stages "
                f"{stages}.",
            )
    for key, sizes in (("kernel_sizes", arguments.kernel_sizes), ("strides", arguments.strides)):
        for stage, entry in enumerate(sizes if isinstance(sizes, tuple) else ()):
            if isinstance(entry, tuple) and len(entry) != dim:
                yield (
                    f"{key}[{stage}]",
                    f"has {counted(len(entry), 'axis', 'axes')}, patch_size has {dim}.",
                )


def per_stage(key: str, value: Any, length: int) -> tuple[int, ...]:
    """The argument `key` as one count for each of `length` stages; one number stands for all.

    Raises
    ------
    ConfigurationError
        The list has another length, or an entry is not a positive integer.
    """
    values = _repeated(key, value, length)
    if not all(_is_count(entry) for entry in values):
        raise ConfigurationError(f"{key} is {value!r}: every entry must be a positive integer.")
    return values


def per_stage_and_axis(key: str, value: Any, stages: int, dim: int) -> Sizes:
    """The argument `key` as one count per stage and axis; one number stands for all.

    >>> per_stage_and_axis("strides", [1, 2, (2, 1)], 3, 2)
    ((1, 1), (2, 2), (2, 1))

    Raises
    ------
    ConfigurationError
        A list has another length, or an entry is not a positive integer.
    """
    return tuple(
        per_stage(f"{key}[{stage}]", entry, dim)
        for stage, entry in enumerate(_repeated(key, value, stages))
    )


def _repeated(key: str, value: Any, length: int) -> tuple[Any, ...]:
    if isinstance(value, int):
        return (value,) * length
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigurationError(f"{key} is {value!r}: a number or a list is expected.")
    if len(value) != length:
        raise ConfigurationError(
            f"{key} has {counted(len(value), 'entry', 'entries')}, {length} are needed."
        )
    return tuple(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _blocks(arguments: UNetArguments) -> tuple[str, PerStage]:
    """The argument that counts an encoder stage's blocks or convolutions, by its name."""
    if isinstance(arguments, ResidualEncoderUNetArguments):
        return "n_blocks_per_stage", arguments.n_blocks_per_stage
    assert isinstance(arguments, PlainConvUNetArguments)
    return "n_conv_per_stage", arguments.n_conv_per_stage


@cache
def planned_operators(dim: int) -> Operators:
    """The layers of every network that nnU-Net plans."""
    return Operators(
        conv_op=f"torch.nn.modules.conv.Conv{dim}d",
        conv_bias=True,
        norm_op=f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        norm_op_kwargs=FrozenDict({"eps": 1e-05, "affine": True}),
        nonlin="torch.nn.LeakyReLU",
        nonlin_kwargs=FrozenDict({"inplace": True}),
    )


def _operators(arguments: UNetArguments, extra: Mapping[str, Any]) -> Operators:
    return Operators(
        conv_op=arguments.conv_op,
        conv_bias=arguments.conv_bias,
        norm_op=arguments.norm_op,
        norm_op_kwargs=arguments.norm_op_kwargs or NO_ARGUMENTS,
        dropout_op=arguments.dropout_op,
        dropout_op_kwargs=arguments.dropout_op_kwargs or NO_ARGUMENTS,
        nonlin=arguments.nonlin,
        nonlin_kwargs=arguments.nonlin_kwargs or NO_ARGUMENTS,
        nonlin_first=bool(extra.get("nonlin_first")),
    )


def _residual_blocks(extra: Mapping[str, Any], stages: int) -> ResidualBlocks:
    block = extra.get("block")
    channels = None
    if block in BOTTLENECK_BLOCKS:
        if extra.get("bottleneck_channels") is None:
            raise ConfigurationError(
                "bottleneck_channels is missing, which bottleneck blocks need."
            )
        channels = per_stage("bottleneck_channels", extra["bottleneck_channels"], stages)
    elif block is not None and block not in BASIC_BLOCKS:
        raise ConfigurationError(
            f"block is {block!r}: {BASIC_BLOCKS[-1]} or {BOTTLENECK_BLOCKS[-1]} is expected."
        )
    depth = _number(extra, "stochastic_depth_p", 0.0, 1)
    ratio = _number(extra, "squeeze_excitation_reduction_ratio", 1 / 16, MAX_RATIO)
    return ResidualBlocks(channels, depth, ratio if extra.get("squeeze_excitation") else None)


def _number(extra: Mapping[str, Any], key: str, default: float, largest: float) -> float:
    value = extra.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        raise ConfigurationError(f"{key} is {value!r}: a number from 0 to {largest} is expected.")
    return value
