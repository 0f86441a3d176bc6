"""A U-Net stage by stage: resolution, features, parameters, in closed form; no torch."""

from dataclasses import dataclass
from typing import Literal

from resenc_plans.cost.counts import decoder_parameters, part_parameters
from resenc_plans.cost.layers import layers_of
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.unet import UNet


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
    unet = UNet.of(config)
    layers = layers_of(config, input_channels, output_heads)
    style = layers.style
    stem = part_parameters(layers.stem, style) if layers.stem is not None else 0
    shapes = unet.shapes(config.patch_size)
    bottleneck = unet.n_stages - 1
    encoder = tuple(
        NetworkStage(
            part="bottleneck" if level == bottleneck else "encoder",
            level=level,
            shape=shapes[level],
            features=unet.features[level],
            depth=unet.blocks[level],
            kernel_size=unet.kernel_sizes[level],
            stride=unet.strides[level],
            parameters=sum(part_parameters(part, style) for part in parts) + (0 if level else stem),
        )
        for level, parts in enumerate(layers.encoder)
    )
    decoder = tuple(
        NetworkStage(
            part="decoder",
            level=level,
            shape=shapes[level],
            features=unet.features[level],
            depth=depth,
            kernel_size=unet.kernel_sizes[level],
            stride=unet.strides[level + 1],
            parameters=decoder_parameters(stage, style),
        )
        for level, depth, stage in zip(
            reversed(range(bottleneck)), unet.decoder_convolutions, layers.decoder, strict=True
        )
    )
    return encoder + decoder
