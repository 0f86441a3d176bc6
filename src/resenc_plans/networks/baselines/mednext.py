"""MedNeXt as its authors have it.

Roy et al. 2023, "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation".
Names of submodules are those of the authors' release, so that its weights load. MONAI's MedNeXt
expands channels differently where the resolution changes, so its sizes B, M and L are other
networks; its size S is this one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, pad

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.further_heads import ignore_further_heads
from resenc_plans.plans.architectures import PerStageAndAxis
from resenc_plans.plans.known_networks import MEDNEXT_STRIDES
from resenc_plans.plans.unet import per_stage_and_axis


@dataclass(frozen=True)
class Variant:
    """One size of MedNeXt: of each of its nine stages, blocks and expansion ratio.

    The stages are those of the encoder, highest resolution first, the bottleneck, and those of the
    decoder, lowest resolution first.
    """

    blocks: tuple[int, ...]
    ratios: tuple[int, ...]


VARIANTS = {
    "S": Variant((2,) * 9, (2,) * 9),
    "B": Variant((2,) * 9, (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "M": Variant((3, 4, 4, 4, 4, 4, 4, 4, 3), (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "L": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


class MedNeXt(nn.Module):
    """A U-Net of ConvNeXt blocks, three-dimensional, with sums as skips.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    variant
        "S", "B", "M" or "L": 5.6, 10.5, 17.6 or 61.8 million parameters with kernels of 3.
    kernel_size
        Of the depthwise convolutions: 3 or 5.
    width
        Channels of the highest resolution; each lower one has twice as many. Published are 32.
    strides
        As a plans file has them, for nnU-Net's trainer; only 1, 2, 2, 2, 2, 1 is possible. The
        last one stands for the bottleneck's output.
    deep_supervision
        Whether `forward` returns five outputs, the bottleneck's among them.

    Raises
    ------
    ConfigurationError
        There is no such variant, kernel size, or stride.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        variant: str = "S",
        kernel_size: int = 3,
        width: int = 32,
        strides: PerStageAndAxis = MEDNEXT_STRIDES,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigurationError(
                f"variant is {variant!r}: MedNeXt comes as {', '.join(VARIANTS)}."
            )
        if kernel_size not in (3, 5):
            raise ConfigurationError(f"kernel_size is {kernel_size}: MedNeXt has 3 or 5.")
        given = per_stage_and_axis("strides", strides, len(MEDNEXT_STRIDES), 3)
        if given != per_stage_and_axis("strides", MEDNEXT_STRIDES, len(MEDNEXT_STRIDES), 3):
            raise ConfigurationError("strides must be 1, 2, 2, 2, 2, 1: MedNeXt has no others.")
        size = VARIANTS[variant]
        self.deep_supervision = deep_supervision
        if not isinstance(width, int) or width < 1:
            raise ConfigurationError(f"width is {width}: a whole number from 1 on is needed.")
        self.stem = nn.Conv3d(input_channels, width, 1)
        widths = [width * 2**level for level in range(5)]

        def stage(number: int, width: int) -> nn.Sequential:
            ratio = size.ratios[number]
            return nn.Sequential(
                *(Block(width, width, ratio, kernel_size) for _ in range(size.blocks[number]))
            )

        for level in range(4):
            setattr(self, f"enc_block_{level}", stage(level, widths[level]))
            down = DownBlock(widths[level], widths[level + 1], size.ratios[level + 1], kernel_size)
            setattr(self, f"down_{level}", down)
        self.bottleneck = stage(4, widths[4])
        for level in range(3, -1, -1):
            number = 8 - level
            up = UpBlock(widths[level + 1], widths[level], size.ratios[number], kernel_size)
            setattr(self, f"up_{level}", up)
            setattr(self, f"dec_block_{level}", stage(number, widths[level]))
        for level in range(5 if deep_supervision else 1):
            setattr(self, f"out_{level}", Head(widths[level], num_classes))
        self.dummy_tensor = nn.Parameter(torch.ones(1))
        self.register_load_state_dict_pre_hook(_accept_a_scalar)  # type: ignore[no-untyped-call]
        if not deep_supervision:
            ignore_further_heads(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or with deep supervision a list, highest resolution first."""
        x, skips = self.stem(x), []
        for level in range(4):
            x = self._part(f"enc_block_{level}", x)
            skips.append(x)
            x = self._part(f"down_{level}", x)
        x = self.bottleneck(x)
        logits = [self._part("out_4", x)] if self.deep_supervision else []
        for level in range(3, -1, -1):
            x = self._part(f"up_{level}", x) + skips[level]
            x = self._part(f"dec_block_{level}", x)
            if self.deep_supervision or level == 0:
                logits.append(self._part(f"out_{level}", x))
        return logits[::-1] if self.deep_supervision else logits[0]

    def _part(self, name: str, x: Tensor) -> Tensor:
        result: Tensor = getattr(self, name)(x)
        return result

    @property
    def decoder(self) -> "MedNeXt":
        """Itself: nnU-Net's trainer sets `network.decoder.deep_supervision`."""
        return self

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Every block, each change of resolution and each head, as in the authors' M and L."""
        for module in self.modules():
            if isinstance(module, Block | UpBlock | Head):
                yield module

    def adapted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of smaller kernels for this network's ("UpKern"): larger ones are interpolated.

        Trilinear, corners not aligned; the weights of all other parameters stay.
        """
        own = self.state_dict()
        return {
            name: _resized(weight, own[name].shape) if name in own else weight
            for name, weight in weights.items()
        }


class Block(nn.Module):
    """A depthwise convolution, then two pointwise ones that widen and narrow, beside a skip.

    `inputs` channels become `outputs`, with `ratio` times `inputs` in between.
    """

    def __init__(self, inputs: int, outputs: int, ratio: int, kernel_size: int) -> None:
        super().__init__()
        self.conv1 = self._depthwise(inputs, kernel_size)
        self.norm = nn.GroupNorm(inputs, inputs)
        self.conv2 = nn.Conv3d(inputs, ratio * inputs, 1)
        self.conv3 = nn.Conv3d(ratio * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, z, y, x)."""
        return x + self._narrowed(x)

    def _narrowed(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv3(gelu(self.conv2(self.norm(self.conv1(x)))))
        return result

    @staticmethod
    def _depthwise(channels: int, kernel_size: int) -> nn.Module:
        return nn.Conv3d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)


class DownBlock(Block):
    """A block that halves the resolution; its skip is a strided pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, ratio: int, kernel_size: int) -> None:
        super().__init__(inputs, outputs, ratio, kernel_size)
        self.res_conv = nn.Conv3d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, z, y, x)."""
        result: Tensor = self.res_conv(x) + self._narrowed(x)
        return result

    @staticmethod
    def _depthwise(channels: int, kernel_size: int) -> nn.Module:
        return nn.Conv3d(
            channels, channels, kernel_size, stride=2, padding=kernel_size // 2, groups=channels
        )


class UpBlock(Block):
    """A block that doubles the resolution.

    Its transposed convolutions make 2 n - 1 voxels of n; a plane of zeros goes before the first.
    """

    def __init__(self, inputs: int, outputs: int, ratio: int, kernel_size: int) -> None:
        super().__init__(inputs, outputs, ratio, kernel_size)
        self.res_conv = nn.ConvTranspose3d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, z, y, x)."""
        before = (1, 0) * 3
        return pad(self.res_conv(x), before) + pad(self._narrowed(x), before)

    @staticmethod
    def _depthwise(channels: int, kernel_size: int) -> nn.Module:
        return nn.ConvTranspose3d(
            channels, channels, kernel_size, stride=2, padding=kernel_size // 2, groups=channels
        )


class Head(nn.Module):
    """Logits of one resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_out = nn.ConvTranspose3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of `x` of shape (batch, channels, z, y, x)."""
        result: Tensor = self.conv_out(x)
        return result


def _resized(weight: Tensor, shape: Sequence[int]) -> Tensor:
    if weight.ndim != 5 or weight.shape[:2] != shape[:2] or weight.shape == shape:
        return weight
    return interpolate(weight, tuple(shape[2:]), mode="trilinear")


def _accept_a_scalar(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    """The authors' releases may hold the parameter for checkpointing as a single number."""
    name = f"{prefix}dummy_tensor"
    if name in state:
        state[name] = state[name].reshape(1)
