"""The decoder that nnU-Net's two U-Nets share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resenc_plans.networks.unet.blocks import ConvStack
from resenc_plans.networks.unet.layout import UNetLayout
from resenc_plans.networks.unet.operators import Operators


class UNetDecoder(nn.Module):
    """Upsample, join the skip connection, convolve; a segmentation head at each resolution.

    All heads exist whether or not `deep_supervision` is on, so that weights load either way. The
    encoder is registered in the decoder, too, as dynamic-network-architectures does: its
    parameters appear once more in a state dict, as `decoder.encoder.*`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        operators: Operators,
        layout: UNetLayout,
        num_classes: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.encoder = encoder
        stages, transpconvs, heads = [], [], []
        lowest_first = list(range(layout.n_stages - 1))[::-1]
        for level, depth in zip(lowest_first, layout.decoder_depths, strict=True):
            features = layout.features[level]
            below, stride = layout.features[level + 1], layout.strides[level + 1]
            transpconvs.append(operators.upsampling(below, features, stride))
            stages.append(
                ConvStack(operators, depth, 2 * features, features, layout.kernel_sizes[level])
            )
            heads.append(operators.convolution(features, num_classes, 1, bias=True))
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
