"""nnU-Net's U-Net with a residual encoder (Isensee et al. 2024, "nnU-Net Revisited")."""

from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import (
    ConvStack,
    ResidualStack,
    basic_block,
    bottleneck_block,
)
from resenc_plans.networks.unet.encoder_decoder import Encoder, EncoderDecoder
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import UNet


class ResidualEncoder(Encoder):
    """A stem and one stack of residual blocks per resolution; returns every stage's result."""

    def __init__(self, unet: UNet, layers: LayerFactory, input_channels: int) -> None:
        super().__init__()
        inputs, options = unet.stem_features, unet.residual_blocks
        self.stem = ConvStack(layers, input_channels, inputs, unet.kernel_sizes[0], depth=1)
        stages = []
        for stage, outputs in enumerate(unet.features):
            kernel, blocks = unet.kernel_sizes[stage], []
            for number in range(unet.blocks[stage]):
                stride = (1,) * unet.dim if number else unet.strides[stage]
                if options.bottleneck_channels is None:
                    block = basic_block(layers, inputs, outputs, kernel, stride, options=options)
                else:
                    block = bottleneck_block(
                        layers,
                        inputs,
                        outputs,
                        kernel,
                        stride,
                        channels=options.bottleneck_channels[stage],
                        options=options,
                    )
                blocks.append(block)
                inputs = outputs
            stages.append(ResidualStack(blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        return super().forward(self.stem(x))


class ResidualEncoderUNet(EncoderDecoder):
    """nnU-Net's U-Net with a residual encoder, as presets M, L and XL use it.

    State dicts are interchangeable with `ResidualEncoderUNet` of dynamic-network-architectures
    0.4.4. Stochastic depth and squeeze and excitation are ours, since that package has them in its
    encoder only.
    """

    encoder_type = ResidualEncoder
