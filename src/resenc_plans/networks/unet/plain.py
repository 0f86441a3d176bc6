"""nnU-Net's plain U-Net (Isensee et al. 2021)."""

from collections.abc import Iterator

from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import ConvStack
from resenc_plans.networks.unet.decoder import UNetDecoder
from resenc_plans.networks.unet.initialization import initialize
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import UNet


class PlainConvEncoder(nn.Module):
    """One stack of convolutions per resolution; returns every stage's result."""

    def __init__(self, unet: UNet, layers: LayerFactory, input_channels: int) -> None:
        super().__init__()
        channels = (input_channels, *unet.features)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    ConvStack(
                        layers,
                        channels[stage],
                        channels[stage + 1],
                        unet.kernel_sizes[stage],
                        depth=unet.blocks[stage],
                        stride=unet.strides[stage],
                    )
                )
                for stage in range(unet.n_stages)
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        results = []
        for stage in self.stages:
            x = stage(x)
            results.append(x)
        return results


class PlainConvUNet(nn.Module):
    """nnU-Net's plain U-Net, as its original planner uses it.

    State dicts are interchangeable with `PlainConvUNet` of dynamic-network-architectures 0.4.4.
    The parameters are those of `ResidualEncoderUNet`.
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
        self.encoder = PlainConvEncoder(unet, layers, input_channels)
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
