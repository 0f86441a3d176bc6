"""nnU-Net's measure of a network's memory: how many values its convolutions put out.

The planner of nnU-Net builds a network with torch to count them
(dynamic_network_architectures, `compute_conv_feature_map_size`). The count is a sum over stages
of channels x voxels x convolutions, so it is written down here in integers.
"""

from collections.abc import Sequence
from math import prod

from resenc_plans.plans.unet import UNet


def count_feature_maps(
    unet: UNet, patch_size: Sequence[int], output_heads: int, *, deep_supervision: bool = True
) -> int:
    """Values that all convolutions put out for one sample of `patch_size` voxels.

    A residual encoder begins with a stem of one convolution at full resolution; a block has two
    convolutions, and a third (the projection of the skip) where it changes resolution or features.
    Each decoder stage has a transposed convolution, its convolutions, and with deep supervision a
    segmentation head; without, only the last has.

    Sizes are halved with the rest dropped, as nnU-Net's count does.

    Two stages of one convolution with 2 and 4 features on 4x4 pixels, 3 heads: 32 and 16 values
    down, 64 up, 48 of the head:

    >>> from resenc_plans.plans.unet import Operators
    >>> strides, kernels = ((1, 1), (2, 2)), ((3, 3), (3, 3))
    >>> unet = UNet("plain", strides, kernels, (2, 4), (1, 1), (1,), Operators("torch.nn.Conv2d"))
    >>> count_feature_maps(unet, (4, 4), 3)
    160
    """
    voxels = [prod(shape) for shape in unet.shapes(patch_size)]
    channels = unet.stem_features
    total = channels * prod(patch_size) if unet.kind == "residual" else 0
    for stage, (stride, features, blocks) in enumerate(
        zip(unet.strides, unet.features, unet.blocks, strict=True)
    ):
        convolutions = blocks
        if unet.kind == "residual":
            projected = channels != features or any(step != 1 for step in stride)
            convolutions = 2 * blocks + projected
        total += convolutions * features * voxels[stage]
        channels = features
    for level, convolutions in zip(
        reversed(range(unet.n_stages - 1)), unet.decoder_convolutions, strict=True
    ):
        total += (1 + convolutions) * unet.features[level] * voxels[level]
        if deep_supervision or level == 0:
            total += output_heads * voxels[level]
    return total
