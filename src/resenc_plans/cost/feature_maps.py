"""nnU-Net's measure of a network's memory: how many values its convolutions put out.

The planner of nnU-Net builds a network with torch to count them
(dynamic_network_architectures, `compute_conv_feature_map_size`). The count is a sum over stages
of channels x voxels x convolutions, so it is written down here in integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal


@dataclass(frozen=True)
class UNetShape:
    """The numbers of nnU-Net's U-Nets on which the count depends.

    `strides` has one tuple per encoder stage, one number per axis; `features` and `blocks` one
    number per encoder stage (blocks are residual blocks, or convolutions of a plain encoder);
    `decoder_convs` one per decoder stage, the lowest resolution first.
    """

    kind: Literal["residual", "plain"]
    strides: tuple[tuple[int, ...], ...]
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]


def count_feature_maps(
    shape: UNetShape, patch_size: Sequence[int], output_heads: int, *, deep_supervision: bool = True
) -> int:
    """Values that all convolutions put out for one sample of `patch_size` voxels.

    A residual encoder begins with a stem of one convolution at full resolution, of as many
    features as the first stage; a block has two convolutions, and a third (the projection of the
    skip) where it changes resolution or features. Each decoder stage has a transposed convolution,
    its convolutions, and with deep supervision a segmentation head; without, only the last has.

    Sizes are halved with the rest dropped, as nnU-Net's count does.

    One stage of 2 features and one convolution on 4x4 pixels, no decoder:

    >>> count_feature_maps(UNetShape("plain", ((1, 1),), (2,), (1,), ()), (4, 4), 3)
    32
    """
    size = tuple(patch_size)
    total = shape.features[0] * prod(size) if shape.kind == "residual" else 0
    channels = shape.features[0]
    voxels: list[int] = []
    for stride, features, blocks in zip(shape.strides, shape.features, shape.blocks, strict=True):
        size = tuple(n // s for n, s in zip(size, stride, strict=True))
        voxels.append(prod(size))
        convolutions = blocks
        if shape.kind == "residual":
            projected = channels != features or any(s != 1 for s in stride)
            convolutions = 2 * blocks + projected
        total += convolutions * features * voxels[-1]
        channels = features
    deepest = len(voxels) - 1
    for stage, convolutions in enumerate(shape.decoder_convs):
        level = deepest - 1 - stage
        total += (1 + convolutions) * shape.features[level] * voxels[level]
        if deep_supervision or level == 0:
            total += output_heads * voxels[level]
    return total
