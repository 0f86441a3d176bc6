"""A U-Net stage by stage: resolution, features, parameters, in closed form; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from resenc_plans.networks.layout import UNetLayout, fault, layout_of
from resenc_plans.plans.architecture import ResidualEncoderUNetArguments, UNetArguments
from resenc_plans.plans.models import ResolvedConfiguration


@dataclass(frozen=True)
class NetworkStage:
    """One stage. Shapes are in voxels, axes as in the plans; `stride` is that of its entry.

    `depth` counts residual blocks, or convolutions in a plain encoder and in the decoder.
    `parameters` of a decoder stage include its upsampling and its segmentation head, those of the
    first encoder stage the stem.
    """

    part: Literal["encoder", "bottleneck", "decoder"]
    level: int
    shape: tuple[int, ...]
    features: int
    depth: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    parameters: int


def network_stages(
    config: ResolvedConfiguration, input_channels: int, output_heads: int
) -> tuple[NetworkStage, ...]:
    """The stages of a configuration's U-Net in the order of computation.

    `level` 0 is the highest resolution; the bottleneck is the last encoder stage.

    Raises
    ------
    ConfigurationError
        The network is none of nnU-Net's U-Nets, or its arguments do not fit.
    """
    layout = layout_of(config)
    arguments = config.architecture.arch_kwargs
    assert isinstance(arguments, UNetArguments)
    counter = _Counter(config, arguments, layout)
    shapes = _shapes(config.patch_size, layout)
    lowest = layout.n_stages - 1
    encoder = tuple(
        NetworkStage(
            "bottleneck" if level == lowest else "encoder",
            level,
            shapes[level],
            features,
            layout.encoder_depths[level],
            layout.kernel_sizes[level],
            layout.strides[level],
            counter.encoder(level, input_channels),
        )
        for level, features in enumerate(layout.features)
    )
    decoder = tuple(
        NetworkStage(
            "decoder",
            level,
            shapes[level],
            layout.features[level],
            depth,
            layout.kernel_sizes[level],
            layout.strides[level + 1],
            counter.decoder(level, depth, output_heads),
        )
        for level, depth in zip(reversed(range(lowest)), layout.decoder_depths, strict=True)
    )
    return encoder + decoder


class _Counter:
    """Counts parameters of the parts of one U-Net."""

    def __init__(
        self, config: ResolvedConfiguration, arguments: UNetArguments, layout: UNetLayout
    ) -> None:
        self.layout = layout
        self.bias = int(arguments.conv_bias)
        self.norm = 2 * _affine(config, arguments)
        activation = (arguments.nonlin or "").rpartition(".")[2]
        settings: Mapping[str, Any] = arguments.nonlin_kwargs or {}
        self.activation = settings.get("num_parameters", 1) if activation == "PReLU" else 0
        self.residual = isinstance(arguments, ResidualEncoderUNetArguments)
        extra: dict[str, Any] = arguments.model_extra or {}
        self.stem = extra.get("stem_channels") or layout.features[0]
        bottleneck = str(extra.get("block") or "").endswith("BottleneckD")
        self.between = extra.get("bottleneck_channels") if bottleneck else None
        self.excitation = (
            extra.get("squeeze_excitation_reduction_ratio", 1 / 16)
            if extra.get("squeeze_excitation")
            else 0
        )

    def encoder(self, level: int, input_channels: int) -> int:
        """An encoder stage; the first with the stem of a residual encoder."""
        layout, total, inputs = self.layout, 0, input_channels
        if self.residual and level == 0:
            total += self._convolution(input_channels, self.stem, layout.kernel_sizes[0])
        if self.residual:
            inputs = self.stem
        if level:
            inputs = layout.features[level - 1]
        for _ in range(layout.encoder_depths[level]):
            part = self._residual_block if self.residual else self._plain_block
            total += part(inputs, level)
            inputs = layout.features[level]
        return total

    def decoder(self, level: int, depth: int, heads: int) -> int:
        """A decoder stage with its upsampling and its segmentation head."""
        layout, features = self.layout, self.layout.features[level]
        kernel = layout.kernel_sizes[level]
        below, stride = layout.features[level + 1], layout.strides[level + 1]
        upsampling = below * features * prod(stride) + self.bias * features
        convolutions = self._convolution(2 * features, features, kernel)
        convolutions += (depth - 1) * self._convolution(features, features, kernel)
        return upsampling + convolutions + features * heads + heads

    def _plain_block(self, inputs: int, level: int) -> int:
        layout = self.layout
        return self._convolution(inputs, layout.features[level], layout.kernel_sizes[level])

    def _residual_block(self, inputs: int, level: int) -> int:
        outputs, kernel = self.layout.features[level], self.layout.kernel_sizes[level]
        if self.between is None:
            total = self._convolution(inputs, outputs, kernel)
            total += self._convolution(outputs, outputs, kernel)
        else:
            is_same = isinstance(self.between, int)
            between = self.between if is_same else self.between[level]
            total = self._convolution(inputs, between, ()) + self._convolution(between, outputs, ())
            total += self._convolution(between, between, kernel)
        if inputs != outputs:
            total += inputs * outputs + self.norm * outputs
        if self.excitation:
            reduced = max(8, int(outputs * self.excitation + 4) // 8 * 8)
            total += 2 * outputs * reduced + outputs + reduced
        return total

    def _convolution(self, inputs: int, outputs: int, kernel: tuple[int, ...]) -> int:
        """A convolution with its bias, normalisation and the activation behind it or the sum."""
        weights = inputs * outputs * prod(kernel)
        return weights + (self.bias + self.norm) * outputs + self.activation


def _affine(config: ResolvedConfiguration, arguments: UNetArguments) -> bool:
    """Whether the normalisation has a scale and a shift per channel."""
    if arguments.norm_op is None:
        return False
    kwargs: Mapping[str, Any] = arguments.norm_op_kwargs or {}
    name = arguments.norm_op.rpartition(".")[2]
    if name.startswith("InstanceNorm"):
        return bool(kwargs.get("affine", False))
    if name.startswith(("BatchNorm", "SyncBatchNorm")):
        return bool(kwargs.get("affine", True))
    raise fault(
        config,
        f"architecture.arch_kwargs.norm_op is {arguments.norm_op}, whose parameters are not known.",
    )


def _shapes(patch_size: tuple[int, ...], layout: UNetLayout) -> list[tuple[int, ...]]:
    shapes = []
    shape = patch_size
    for stride in layout.strides:
        shape = tuple(size // step for size, step in zip(shape, stride, strict=True))
        shapes.append(shape)
    return shapes
