"""One walk over a U-Net's layers with their sizes, from its blueprint.

Everything that a network costs follows from this walk: parameters and arithmetic (`counts`), the
memory of a training step (`training_step`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.bounds import count_fault
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.unet import Operators, UNet

_KEEPS_RESULT = {"ReLU", "ReLU6", "ELU", "SELU", "Sigmoid", "Tanh"}
"""Activations whose gradient needs their result, not their input."""


@dataclass(frozen=True)
class LayerStyle:
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

    @classmethod
    def of(cls, operators: Operators) -> Self:
        """The style of a network with these operators.

        Raises
        ------
        ConfigurationError
            The cost of its normalisation is not known.
        """
        norm = _class_name(operators.norm_op)
        if norm and not norm.startswith(("InstanceNorm", "BatchNorm", "SyncBatchNorm")):
            raise ConfigurationError(
                f"architecture.arch_kwargs.norm_op is {operators.norm_op}, whose cost is not known."
            )
        affine = operators.norm_op_kwargs.get("affine", not norm.startswith("InstanceNorm"))
        dropout = _class_name(operators.dropout_op)
        drops = bool(dropout) and operators.dropout_op_kwargs.get("p", 0.5) > 0
        nonlin = _class_name(operators.nonlin)
        parameters = operators.nonlin_kwargs.get("num_parameters", 1) if nonlin == "PReLU" else 0
        return cls(
            bias=operators.conv_bias,
            norm=bool(norm),
            norm_affine=bool(norm) and bool(affine),
            norm_returns_view=norm.startswith("InstanceNorm"),
            dropout=("channels" if dropout.endswith("d") else "values") if drops else None,
            dropout_in_place=bool(operators.dropout_op_kwargs.get("inplace")),
            activation=bool(nonlin) and nonlin != "Identity",
            activation_in_place=bool(operators.nonlin_kwargs.get("inplace")),
            activation_keeps_input=nonlin not in _KEEPS_RESULT,
            activation_parameters=parameters,
            activation_first=operators.nonlin_first,
        )


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
class SizedLayers:
    """A U-Net's layers in the order of computation.

    Encoder stages come highest resolution first, decoder stages lowest first. `stem` is None in a
    plain encoder, whose stages hold convolutions instead of blocks.
    """

    stem: Convolution | None
    encoder: tuple[tuple[ResidualBlock | Convolution, ...], ...]
    decoder: tuple[DecoderStage, ...]
    style: LayerStyle
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


def layers_of(config: ResolvedConfiguration, input_channels: int, output_heads: int) -> SizedLayers:
    """The layers of a configuration's U-Net for one sample of its patch size.

    Raises
    ------
    ConfigurationError
        The network is none of nnU-Net's U-Nets, its arguments contradict each other, the strides
        do not divide the patch, an operator's cost is not known, or there are no channels or heads.
    """
    unet = UNet.of(config)
    try:
        return sized_layers(unet, config.patch_size, input_channels, output_heads)
    except ConfigurationError as error:
        raise config.error(str(error)) from None


def sized_layers(
    unet: UNet, patch_size: Sequence[int], input_channels: int, output_heads: int
) -> SizedLayers:
    """The layers of a U-Net for one sample of `patch_size` voxels, which its strides divide.

    Raises
    ------
    ConfigurationError
        There are no channels or heads, or an operator's cost is not known.
    """
    fault = count_fault(input_channels=input_channels, output_heads=output_heads)
    if fault is not None:
        raise ConfigurationError(fault)
    return _Walk(unet, LayerStyle.of(unet.operators), patch_size).layers(
        input_channels, output_heads
    )


class _Walk:
    """Makes the layers of a U-Net, stage by stage."""

    def __init__(self, unet: UNet, style: LayerStyle, patch_size: Sequence[int]) -> None:
        self.unet = unet
        self.style = style
        self.patch_voxels = prod(patch_size)
        self.voxels = [prod(shape) for shape in unet.shapes(patch_size)]
        self.kernels = [prod(kernel) for kernel in unet.kernel_sizes]

    def layers(self, input_channels: int, output_heads: int) -> SizedLayers:
        unet, voxels = self.unet, self.voxels
        size, inputs = self.patch_voxels, input_channels
        stem = None
        if unet.kind == "residual":
            stem = self._unit(inputs, unet.stem_features, self.kernels[0], size, size)
            inputs = unet.stem_features
        encoder = []
        for stage, (features, depth) in enumerate(zip(unet.features, unet.blocks, strict=True)):
            parts: list[ResidualBlock | Convolution] = []
            for _ in range(depth):
                parts.append(
                    self._block(stage, inputs, size)
                    if unet.kind == "residual"
                    else self._unit(inputs, features, self.kernels[stage], size, voxels[stage])
                )
                size, inputs = voxels[stage], features
            encoder.append(tuple(parts))
        decoder = tuple(
            self._decoder_stage(stage, depth, output_heads)
            for stage, depth in zip(
                reversed(range(unet.n_stages - 1)), unet.decoder_convolutions, strict=True
            )
        )
        return SizedLayers(
            stem,
            tuple(encoder),
            decoder,
            self.style,
            input_channels=input_channels,
            input_voxels=self.patch_voxels,
            output_heads=output_heads,
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
            bias=self.style.bias if bias is None else bias,
            norm=self.style.norm,
            dropout=dropout and self.style.dropout is not None,
            activation=activation and self.style.activation,
        )

    def _block(self, stage: int, inputs: int, before: int) -> ResidualBlock:
        outputs, kernel, after = self.unet.features[stage], self.kernels[stage], self.voxels[stage]
        options = self.unet.residual_blocks
        if options.bottleneck_channels is None:
            units: tuple[Convolution, ...] = (
                self._unit(inputs, outputs, kernel, before, after),
                self._unit(outputs, outputs, kernel, after, after, dropout=False, activation=False),
            )
        else:
            between = options.bottleneck_channels[stage]
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
        if options.squeeze_excitation_ratio is not None:
            squeezed = max(8, int(outputs * options.squeeze_excitation_ratio + 4) // 8 * 8)
        return ResidualBlock(
            units,
            after if before != after else None,
            projection,
            squeezed,
            options.stochastic_depth_p > 0,
        )

    def _decoder_stage(self, stage: int, depth: int, output_heads: int) -> DecoderStage:
        unet, kernel, size = self.unet, self.kernels[stage], self.voxels[stage]
        features = unet.features[stage]
        upsampling = Convolution(
            unet.features[stage + 1],
            features,
            prod(unet.strides[stage + 1]),
            self.voxels[stage + 1],
            size,
            bias=self.style.bias,
            transposed=True,
        )
        units = tuple(
            self._unit(features if number else 2 * features, features, kernel, size, size)
            for number in range(depth)
        )
        head = Convolution(features, output_heads, 1, size, size, bias=True)
        return DecoderStage(upsampling, units, head)


def _class_name(path: str | None) -> str:
    """The class that an import path names; "" for none."""
    return (path or "").rpartition(".")[2]
