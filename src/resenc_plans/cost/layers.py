"""One walk over a U-Net's layers with their sizes, from the arguments that a plans file gives.

Everything that a network costs follows from this walk: parameters and arithmetic (`counts`), the
memory of a training step (`training_step`). Arguments mean what they mean to
dynamic-network-architectures 0.4.4.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.architectures import ResidualEncoderUNetArguments, UNetArguments
from resenc_plans.plans.configuration import ResolvedConfiguration

_FROM_RESULT = {"ReLU", "ReLU6", "ELU", "SELU", "Sigmoid", "Tanh"}
"""Activations whose gradient needs their result, not their input."""


@dataclass(frozen=True)
class Surroundings:
    """What follows each convolution of a network, as far as it costs anything.

    `norm` is whether there is a normalisation, `norm_affine` whether it has a scale and a shift.
    `dropout` is "values" where single values are dropped, "channels" where whole channels are.
    """

    bias: bool
    norm: bool
    norm_affine: bool
    norm_returns_view: bool
    dropout: str | None
    dropout_in_place: bool
    activation: bool
    activation_in_place: bool
    activation_keeps_input: bool
    activation_parameters: int
    activation_first: bool


@dataclass(frozen=True)
class Convolution:
    """A convolution (or transposed one) of one sample, and what follows it.

    Sizes are voxels; `kernel_volume` is the product of the kernel's edges.
    """

    inputs: int
    outputs: int
    kernel_volume: int
    input_voxels: int
    output_voxels: int
    bias: bool
    transposed: bool = False
    norm: bool = False
    dropout: bool = False
    activation: bool = False


@dataclass(frozen=True)
class ResidualBlock:
    """Convolutions beside a skip connection that pools and projects where sizes change."""

    convolutions: tuple[Convolution, ...]
    pooled_voxels: int | None
    projection: Convolution | None
    squeezed: int | None
    stochastic_depth: bool


@dataclass(frozen=True)
class DecoderStage:
    """Upsampling, the convolutions after the skip connection joins, and the segmentation head."""

    upsampling: Convolution
    convolutions: tuple[Convolution, ...]
    head: Convolution


@dataclass(frozen=True)
class UNetLayers:
    """A U-Net's layers in the order of computation.

    Encoder stages come highest resolution first, decoder stages lowest first. `stem` is None in a
    plain encoder, whose stages hold convolutions instead of blocks.
    """

    stem: Convolution | None
    encoder: tuple[tuple[ResidualBlock | Convolution, ...], ...]
    decoder: tuple[DecoderStage, ...]
    around: Surroundings
    input_channels: int
    input_voxels: int
    output_heads: int

    def convolutions(self) -> Iterator[Convolution]:
        """Every convolution, heads and projections included."""
        if self.stem is not None:
            yield self.stem
        for stage in self.encoder:
            for part in stage:
                if isinstance(part, Convolution):
                    yield part
                    continue
                yield from part.convolutions
                if part.projection is not None:
                    yield part.projection
        for decoder_stage in self.decoder:
            yield decoder_stage.upsampling
            yield from decoder_stage.convolutions
            yield decoder_stage.head

    def blocks(self) -> Iterator[ResidualBlock]:
        """Every residual block."""
        for stage in self.encoder:
            yield from (part for part in stage if isinstance(part, ResidualBlock))


def unet_layers(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    patch_size: Sequence[int] | None = None,
) -> UNetLayers:
    """The layers of a configuration's U-Net for one sample of its patch size (or another).

    Raises
    ------
    ConfigurationError
        The network is none of nnU-Net's U-Nets, its arguments contradict each other, the strides
        do not divide the patch, or there are no channels or heads.
    """
    return _Walk(config, input_channels, output_heads, patch_size or config.patch_size).layers()


class _Walk:
    """Reads the arguments once, then makes layers from them."""

    def __init__(
        self,
        config: ResolvedConfiguration,
        input_channels: int,
        output_heads: int,
        patch_size: Sequence[int],
    ) -> None:
        self.config = config
        self.patch_size = patch_size
        self.input_channels = self._count("input_channels", input_channels)
        self.output_heads = self._count("output_heads", output_heads)
        arguments = config.architecture.arch_kwargs
        if not isinstance(arguments, UNetArguments):
            raise self.fault(
                f"architecture.network_class_name is {config.architecture.network_class_name}; "
                "costs in closed form are known for nnU-Net's own U-Nets only."
            )
        if arguments.dim != config.dim:
            raise self.fault(
                f"architecture.arch_kwargs.conv_op is {arguments.conv_op}, but patch_size has "
                f"{config.dim} axes. Use torch.nn.modules.conv.Conv{config.dim}d."
            )
        self.n_stages = arguments.n_stages
        if self.n_stages < 2:
            raise self.fault("architecture.arch_kwargs.n_stages: a U-Net has at least 2 stages.")
        extra: Mapping[str, Any] = arguments.model_extra or {}
        self.residual = isinstance(arguments, ResidualEncoderUNetArguments)
        depths_key = "n_blocks_per_stage" if self.residual else "n_conv_per_stage"
        self.features = self._per_stage("features_per_stage", arguments.features_per_stage)
        self.depths = self._per_stage(depths_key, getattr(arguments, depths_key))
        self.decoder_depths = self._per_stage(
            "n_conv_per_stage_decoder", arguments.n_conv_per_stage_decoder, self.n_stages - 1
        )
        self.kernels = self._per_axis("kernel_sizes", arguments.kernel_sizes)
        self.strides = self._per_axis("strides", arguments.strides)
        self.stem_channels = extra.get("stem_channels") or self.features[0]
        block = str(extra.get("block") or "").rpartition(".")[2]
        self.bottleneck: tuple[int, ...] | None = None
        if block not in ("", "BasicBlockD", "BottleneckD"):
            raise self.fault(f"architecture.arch_kwargs.block is {block}, whose cost is not known.")
        if block == "BottleneckD":
            self.bottleneck = self._per_stage(
                "bottleneck_channels", extra.get("bottleneck_channels")
            )
        self.excitation = (
            extra.get("squeeze_excitation_reduction_ratio", 1 / 16)
            if extra.get("squeeze_excitation")
            else None
        )
        self.stochastic_depth = bool(extra.get("stochastic_depth_p"))
        self.around = _surroundings(arguments, extra, self.fault)
        self.shapes = self._shapes()

    def layers(self) -> UNetLayers:
        voxels = [prod(shape) for shape in self.shapes]
        size, inputs = prod(self.patch_size), self.input_channels
        stem = None
        if self.residual:
            stem = self._unit(inputs, self.stem_channels, prod(self.kernels[0]), size, size)
            inputs = self.stem_channels
        encoder = []
        for stage, depth in enumerate(self.depths):
            parts: list[ResidualBlock | Convolution] = []
            for _ in range(depth):
                parts.append(
                    self._block(stage, inputs, size, voxels[stage])
                    if self.residual
                    else self._unit(
                        inputs,
                        self.features[stage],
                        prod(self.kernels[stage]),
                        size,
                        voxels[stage],
                    )
                )
                size, inputs = voxels[stage], self.features[stage]
            encoder.append(tuple(parts))
        decoder = tuple(
            self._decoder_stage(stage, depth, voxels)
            for stage, depth in zip(
                reversed(range(self.n_stages - 1)), self.decoder_depths, strict=True
            )
        )
        return UNetLayers(
            stem,
            tuple(encoder),
            decoder,
            self.around,
            self.input_channels,
            prod(self.patch_size),
            self.output_heads,
        )

    def _unit(
        self,
        inputs: int,
        outputs: int,
        kernel_volume: int,
        input_voxels: int,
        output_voxels: int,
        *,
        bias: bool | None = None,
        dropout: bool = True,
        activation: bool = True,
    ) -> Convolution:
        return Convolution(
            inputs,
            outputs,
            kernel_volume,
            input_voxels,
            output_voxels,
            self.around.bias if bias is None else bias,
            norm=self.around.norm,
            dropout=dropout and self.around.dropout is not None,
            activation=activation and self.around.activation,
        )

    def _block(self, stage: int, inputs: int, before: int, after: int) -> ResidualBlock:
        outputs, kernel = self.features[stage], prod(self.kernels[stage])
        if self.bottleneck is None:
            units: tuple[Convolution, ...] = (
                self._unit(inputs, outputs, kernel, before, after),
                self._unit(outputs, outputs, kernel, after, after, dropout=False, activation=False),
            )
        else:
            between = self.bottleneck[stage]
            units = (
                self._unit(inputs, between, 1, before, before, dropout=False),
                self._unit(between, between, kernel, before, after),
                self._unit(between, outputs, 1, after, after, dropout=False, activation=False),
            )
        projection = None
        if inputs != outputs:
            projection = self._unit(
                inputs, outputs, 1, after, after, bias=False, dropout=False, activation=False
            )
        squeezed = None
        if self.excitation is not None:
            squeezed = max(8, int(outputs * self.excitation + 4) // 8 * 8)
        return ResidualBlock(
            units,
            after if before != after else None,
            projection,
            squeezed,
            self.stochastic_depth,
        )

    def _decoder_stage(self, stage: int, depth: int, voxels: Sequence[int]) -> DecoderStage:
        features, kernel, size = self.features[stage], prod(self.kernels[stage]), voxels[stage]
        upsampling = Convolution(
            self.features[stage + 1],
            features,
            prod(self.strides[stage + 1]),
            voxels[stage + 1],
            size,
            self.around.bias,
            transposed=True,
        )
        units = tuple(
            self._unit(features if number else 2 * features, features, kernel, size, size)
            for number in range(depth)
        )
        head = Convolution(features, self.output_heads, 1, size, size, bias=True)
        return DecoderStage(upsampling, units, head)

    def _shapes(self) -> list[tuple[int, ...]]:
        """The size of each stage in voxels per axis."""
        total = tuple(prod(axis) for axis in zip(*self.strides, strict=True))
        if any(size % step for size, step in zip(self.patch_size, total, strict=True)):
            raise self.fault(
                f"patch_size {list(self.patch_size)} is not a multiple of {list(total)}, by which "
                "the network divides it."
            )
        shapes, shape = [], tuple(self.patch_size)
        for stride in self.strides:
            shape = tuple(size // step for size, step in zip(shape, stride, strict=True))
            shapes.append(shape)
        return shapes

    def _per_stage(self, key: str, value: Any, stages: int | None = None) -> tuple[int, ...]:
        stages = self.n_stages if stages is None else stages
        values = (value,) * stages if isinstance(value, int) else value
        values = tuple(values) if isinstance(values, list) else values
        if not isinstance(values, tuple) or not all(isinstance(v, int) and v > 0 for v in values):
            raise self.fault(f"architecture.arch_kwargs.{key} is {value!r}, not positive integers.")
        if len(values) != stages:
            raise self.fault(
                f"architecture.arch_kwargs.{key} has {len(values)} entries, but {stages} are "
                f"needed for n_stages {self.n_stages}."
            )
        return values

    def _per_axis(self, key: str, value: Any) -> tuple[tuple[int, ...], ...]:
        values = (value,) * self.n_stages if isinstance(value, int) else value
        if len(values) != self.n_stages:
            raise self.fault(
                f"architecture.arch_kwargs.{key} has {len(values)} entries, but n_stages is "
                f"{self.n_stages}."
            )
        return tuple(
            self._per_stage(f"{key}[{stage}]", entry, self.config.dim)
            for stage, entry in enumerate(values)
        )

    def _count(self, what: str, value: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.fault(f"{what} is {value!r}: a positive integer is needed.")
        return value

    def fault(self, sentence: str) -> ConfigurationError:
        return ConfigurationError(f"{self.config.name}: {sentence}")


def _surroundings(arguments: UNetArguments, extra: Mapping[str, Any], fault: Any) -> Surroundings:
    norm = (arguments.norm_op or "").rpartition(".")[2]
    if norm and not norm.startswith(("InstanceNorm", "BatchNorm", "SyncBatchNorm")):
        raise fault(
            f"architecture.arch_kwargs.norm_op is {arguments.norm_op}, whose cost is not known."
        )
    norm_settings: Mapping[str, Any] = arguments.norm_op_kwargs or {}
    affine = norm_settings.get("affine", not norm.startswith("InstanceNorm"))
    dropout = (arguments.dropout_op or "").rpartition(".")[2]
    dropout_settings: Mapping[str, Any] = arguments.dropout_op_kwargs or {}
    drops = bool(dropout) and dropout_settings.get("p", 0.5) > 0
    nonlin = (arguments.nonlin or "").rpartition(".")[2]
    nonlin_settings: Mapping[str, Any] = arguments.nonlin_kwargs or {}
    return Surroundings(
        bias=arguments.conv_bias,
        norm=bool(norm),
        norm_affine=bool(norm) and bool(affine),
        norm_returns_view=norm.startswith("InstanceNorm"),
        dropout=("channels" if dropout.endswith("d") else "values") if drops else None,
        dropout_in_place=bool(dropout_settings.get("inplace")),
        activation=bool(nonlin) and nonlin != "Identity",
        activation_in_place=bool(nonlin_settings.get("inplace")),
        activation_keeps_input=nonlin not in _FROM_RESULT,
        activation_parameters=(
            nonlin_settings.get("num_parameters", 1) if nonlin == "PReLU" else 0
        ),
        activation_first=bool(extra.get("nonlin_first")),
    )
