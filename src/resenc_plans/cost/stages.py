"""A U-Net stage by stage: resolution, features, parameters, in closed form; no torch."""

from dataclasses import dataclass
from typing import Literal

from resenc_plans.cost.counts import decoder_parameters, part_parameters
from resenc_plans.cost.layers import unet_layers
from resenc_plans.networks.unet.layout import UNetLayout, layout_of
from resenc_plans.plans.configuration import ResolvedConfiguration


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
    layers = unet_layers(config, input_channels, output_heads)
    around = layers.around
    stem = part_parameters(layers.stem, around) if layers.stem is not None else 0
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
            sum(part_parameters(part, around) for part in parts) + (0 if level else stem),
        )
        for level, (features, parts) in enumerate(zip(layout.features, layers.encoder, strict=True))
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
            decoder_parameters(stage, around),
        )
        for level, depth, stage in zip(
            reversed(range(lowest)), layout.decoder_depths, layers.decoder, strict=True
        )
    )
    return encoder + decoder


def _shapes(patch_size: tuple[int, ...], layout: UNetLayout) -> list[tuple[int, ...]]:
    shapes = []
    shape = patch_size
    for stride in layout.strides:
        shape = tuple(size // step for size, step in zip(shape, stride, strict=True))
        shapes.append(shape)
    return shapes
