"""nnU-Net's plain U-Net (Isensee et al. 2021)."""

from torch import nn

from resenc_plans.networks.unet.blocks import ConvStack
from resenc_plans.networks.unet.encoder_decoder import Encoder, EncoderDecoder
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import UNet


class PlainConvEncoder(Encoder):
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


class PlainConvUNet(EncoderDecoder):
    """nnU-Net's plain U-Net, as its original planner uses it.

    State dicts are interchangeable with `PlainConvUNet` of dynamic-network-architectures 0.4.4.
    """

    encoder_type = PlainConvEncoder
