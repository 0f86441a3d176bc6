"""STU-Net (Huang et al. 2023, "STU-Net: Scalable and Transferable Medical Image Segmentation").

Names of submodules are those of the authors' release, so that its weights load.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.unet.initialization import initialize, initialize_module
from resenc_plans.networks.unet.layers import LayerFactory, layer_factory
from resenc_plans.plans.architectures import PerStageAndAxis
from resenc_plans.plans.frozen import FrozenDict
from resenc_plans.plans.known_networks import STUNET_STRIDES
from resenc_plans.plans.unet import Operators, per_stage_and_axis


@dataclass(frozen=True)
class Variant:
    """One size of STU-Net: residual blocks per stage, features of the first stage and at most."""

    depth: int
    width: int
    top: int

    @property
    def features(self) -> tuple[int, ...]:
        """Features of the six stages: doubled from stage to stage up to `top`."""
        return tuple(min(self.width * 2**stage, self.top) for stage in range(6))


VARIANTS = {
    "S": Variant(depth=1, width=16, top=256),
    "B": Variant(depth=1, width=32, top=512),
    "L": Variant(depth=2, width=64, top=1024),
    "H": Variant(depth=3, width=96, top=1536),
}


_OPERATORS = Operators(
    conv_op="torch.nn.Conv3d",
    conv_bias=True,
    norm_op="torch.nn.InstanceNorm3d",
    norm_op_kwargs=FrozenDict({"affine": True}),
    nonlin="torch.nn.LeakyReLU",
    nonlin_kwargs=FrozenDict({"inplace": True}),
)


class STUNet(nn.Module):
    """A residual U-Net of six stages that upsamples by nearest neighbour and a 1x1x1 convolution.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    variant
        "S", "B", "L" or "H": 15, 58, 440 or 1457 million parameters.
    width
        Features of the first stage, by default the variant's, of which the lowest has 16 times as
        many at most.
    strides
        Stride with which each of the six stages begins, by default 1, 2, 2, 2, 2, 2.
    deep_supervision
        Whether `forward` returns the logits of all five decoder stages.

    Raises
    ------
    ConfigurationError
        There is no such variant, or the strides do not fit.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        variant: str = "B",
        width: int | None = None,
        strides: PerStageAndAxis = STUNET_STRIDES,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigurationError(
                f"variant is {variant!r}: STU-Net comes as {', '.join(VARIANTS)}."
            )
        size = VARIANTS[variant]
        if width is not None:
            if not isinstance(width, int) or width < 1:
                raise ConfigurationError(f"width is {width}: a whole number from 1 on is needed.")
            size = replace(size, width=width, top=16 * width)
        steps = per_stage_and_axis("strides", strides, len(STUNET_STRIDES), 3)
        if steps[0] != (1, 1, 1):
            raise ConfigurationError("strides[0] must be 1: STU-Net's first stage keeps the size.")
        layers = layer_factory(_OPERATORS)
        self.deep_supervision = deep_supervision
        channels = (input_channels, *size.features)
        self.conv_blocks_context = nn.ModuleList(
            _stage(layers, channels[stage], features, size.depth, steps[stage])
            for stage, features in enumerate(size.features)
        )
        lowest_first = range(4, -1, -1)
        self.upsample_layers = nn.ModuleList(
            NearestUpsampling(
                layers,
                size.features[level + 1],
                size.features[level],
                steps[level + 1],
            )
            for level in lowest_first
        )
        self.conv_blocks_localization = nn.ModuleList(
            _stage(layers, 2 * size.features[level], size.features[level], size.depth)
            for level in lowest_first
        )
        self.seg_outputs = nn.ModuleList(
            layers.convolution(size.features[level], num_classes, 1) for level in lowest_first
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or with deep supervision a list, highest resolution first."""
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        logits: list[Tensor] = []
        for number, skip in enumerate(skips[-2::-1]):
            x = torch.cat((self.upsample_layers[number](x), skip), 1)
            x = self.conv_blocks_localization[number](x)
            if self.deep_supervision or number == len(skips) - 2:
                logits.append(self.seg_outputs[number](x))
        return logits[::-1] if self.deep_supervision else logits[0]

    @property
    def decoder(self) -> "STUNet":
        """Itself: nnU-Net's trainer sets `network.decoder.deep_supervision`."""
        return self

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Draw the weights of one module anew; nnU-Net's builder applies this to all modules."""
        initialize_module(module)

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """The stages of both sides, see `checkpoint_activations`."""
        yield from self.conv_blocks_context
        yield from self.conv_blocks_localization


class PointwiseSkipBlock(nn.Module):
    """Two convolutions beside a skip, which is a strided pointwise convolution where `project`."""

    def __init__(
        self,
        layers: LayerFactory,
        inputs: int,
        outputs: int,
        stride: Sequence[int],
        project: bool,
        *,
        kernel_size: tuple[int, ...] | int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = layers.convolution(inputs, outputs, kernel_size, tuple(stride))
        self.norm1 = layers.normalisation(outputs) or nn.Identity()
        self.act1 = layers.activation() or nn.Identity()
        self.conv2 = layers.convolution(outputs, outputs, kernel_size)
        self.norm2 = layers.normalisation(outputs) or nn.Identity()
        self.act2 = layers.activation() or nn.Identity()
        self.conv3 = (
            layers.convolution(inputs, outputs, 1, tuple(stride)) if project else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, *image)."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        y += self.conv3(x)
        result: Tensor = self.act2(y)
        return result


class NearestUpsampling(nn.Module):
    """Repeat each voxel `stride` times per axis, then mix the channels pointwise."""

    def __init__(
        self, layers: LayerFactory, inputs: int, outputs: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.conv = layers.convolution(inputs, outputs, 1)
        self.stride = [float(step) for step in stride]

    def forward(self, x: Tensor) -> Tensor:
        """Upsample `x` of shape (batch, channels, *image)."""
        result: Tensor = self.conv(interpolate(x, scale_factor=self.stride, mode="nearest"))
        return result


def _stage(
    layers: LayerFactory, inputs: int, outputs: int, depth: int, stride: Sequence[int] = (1, 1, 1)
) -> nn.Module:
    return nn.Sequential(
        PointwiseSkipBlock(layers, inputs, outputs, stride, project=True),
        *(
            PointwiseSkipBlock(layers, outputs, outputs, (1, 1, 1), project=False)
            for _ in range(depth - 1)
        ),
    )
