"""nnU-Net's U-Net with a residual encoder (Isensee et al. 2024, "nnU-Net Revisited")."""

from collections.abc import Iterator

from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import (
    ConvStack,
    ResidualStack,
    basic_block,
    bottleneck_block,
)
from resenc_plans.networks.unet.decoder import UNetDecoder
from resenc_plans.networks.unet.initialization import initialize
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import UNet


class ResidualEncoder(nn.Module):
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
        x, results = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            results.append(x)
        return results


class ResidualEncoderUNet(nn.Module):
    """nnU-Net's U-Net with a residual encoder, as presets M, L and XL use it.

    State dicts are interchangeable with `ResidualEncoderUNet` of dynamic-network-architectures
    0.4.4. Stochastic depth and squeeze and excitation are ours, since that package has them in its
    encoder only. The weights are initialised (see `initialization.initialize`).

    Parameters
    ----------
    unet
        The blueprint: strides, kernels, features and blocks of each stage.
    layers
        Makes the layers, of the blueprint's operators (see `layers.layer_factory`).
    input_channels, output_heads
        Channels of the image, and of the logits.
    deep_supervision
        Whether `forward` returns the logits of all decoder stages.
    """

    def __init__(
        self,
        unet: UNet,
        layers: LayerFactory,
        input_channels: int,
        output_heads: int,
        *,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(unet, layers, input_channels)
        self.decoder = UNetDecoder(
            self.encoder, unet, layers, output_heads, deep_supervision=deep_supervision
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits for images `x` of shape (batch, channels, *image), see `UNetDecoder.forward`."""
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """The stages of encoder and decoder, see `checkpoint_activations`."""
        yield from self.encoder.stages
        yield from self.decoder.stages
