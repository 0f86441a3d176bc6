"""What nnU-Net's two U-Nets share: they differ in their encoders alone."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from resenc_plans.networks.unet.decoder import UNetDecoder
from resenc_plans.networks.unet.initialization import initialize
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import UNet


class Encoder(nn.Module):
    """Stages, each of which goes on from the result of the one before; returns all results.

    It is made of a blueprint, a layer factory and the number of channels of the image.
    """

    stages: nn.Sequential

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first."""
        results = []
        for stage in self.stages:
            x = stage(x)
            results.append(x)
        return results


class EncoderDecoder(nn.Module):
    """A U-Net of an encoder and nnU-Net's decoder; see `initialize` for its first weights.

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

    encoder_type: ClassVar[type[Encoder]]

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
        self.encoder = self.encoder_type(unet, layers, input_channels)
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
