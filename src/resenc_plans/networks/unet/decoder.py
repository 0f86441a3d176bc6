"""The decoder that nnU-Net's two U-Nets share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import ConvStack, ResidualStack, basic_block
from resenc_plans.networks.unet.layers import LayerFactory
from resenc_plans.plans.unet import ResidualBlocks, UNet

MakeStage = Callable[[LayerFactory, int, int, tuple[int, ...], int], nn.Module]
MakeUpsampling = Callable[[LayerFactory, int, int, tuple[int, ...]], nn.Module]


class UNetDecoder(nn.Module):
    """Upsample, join the skip connection, convolve; a segmentation head at each resolution.

    All heads exist whether or not `deep_supervision` is on, so that weights load either way. The
    encoder is registered in the decoder, too, as dynamic-network-architectures does: its
    parameters appear once more in a state dict, as `decoder.encoder.*`.

    `make_stage` makes a stage of layers, input and output channels, kernel and depth (one of the
    blueprint's `decoder_convolutions`), `upsample` an upsampling of layers, channels and stride.
    """

    def __init__(
        self,
        encoder: nn.Module,
        unet: UNet,
        layers: LayerFactory,
        output_heads: int,
        *,
        deep_supervision: bool,
        make_stage: MakeStage | None = None,
        upsample: MakeUpsampling = LayerFactory.upsampling,
    ) -> None:
        super().__init__()
        make_stage = make_stage or convolutions
        self.deep_supervision = deep_supervision
        self.encoder = encoder
        stages, transpconvs, heads = [], [], []
        lowest_first = reversed(range(unet.n_stages - 1))
        for level, depth in zip(lowest_first, unet.decoder_convolutions, strict=True):
            features, kernel_size = unet.features[level], unet.kernel_sizes[level]
            below, stride = unet.features[level + 1], unet.strides[level + 1]
            transpconvs.append(upsample(layers, below, features, stride))
            stages.append(make_stage(layers, 2 * features, features, kernel_size, depth))
            heads.append(layers.convolution(features, output_heads, 1, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(transpconvs)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits from the encoder's results, which come highest resolution first.

        Returns the logits at full resolution, with deep supervision a list of the logits of all
        decoder stages, highest resolution first.
        """
        x, heads = skips[-1], len(self.seg_layers)
        logits: list[Tensor] = []
        for number, skip in enumerate(reversed(skips[:-1])):
            x = torch.cat((self.transpconvs[number](x), skip), 1)
            x = self.stages[number](x)
            if self.deep_supervision or number == heads - 1:
                logits.append(self.seg_layers[number](x))
        return logits[::-1] if self.deep_supervision else logits[0]


def convolutions(
    layers: LayerFactory, inputs: int, outputs: int, kernel_size: tuple[int, ...], depth: int
) -> nn.Module:
    """A decoder stage of convolutions."""
    return ConvStack(layers, inputs, outputs, kernel_size, depth=depth)


def residual_blocks(
    layers: LayerFactory, inputs: int, outputs: int, kernel_size: tuple[int, ...], depth: int
) -> nn.Module:
    """A decoder stage of residual blocks."""
    stride, options = (1,) * layers.dim, ResidualBlocks()
    return ResidualStack(
        [
            basic_block(layers, channels, outputs, kernel_size, stride, options=options)
            for channels in (inputs, *((outputs,) * (depth - 1)))
        ]
    )
