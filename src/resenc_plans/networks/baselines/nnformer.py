"""nnFormer: a U-Net of transformers over windows.

Zhou et al. 2021, "nnFormer: Interleaved Transformer for Volumetric Segmentation". Feature maps are
(batch, z, y, x, channels) between layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from resenc_plans.errors import NetworkError
from resenc_plans.networks.further_heads import ignore_further_heads
from resenc_plans.networks.unet.blocks import DropPath
from resenc_plans.plans.known_networks import nnformer_patch

MASKED = -100.0
"""Added between voxels that a shift has brought into one window."""

MAX_DROP_PATH = 0.2
"""Of the last block of the encoder, and of the decoder; the first one drops nothing."""

MLP_RATIO = 4

STAGES = 4

Size = tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """One of the published networks.

    `embedding` are the channels of the highest resolution, which is reached by the strides of two
    convolutions, `embedding_strides`. Windows and heads come highest resolution first.
    """

    embedding: int
    embedding_strides: tuple[Size, Size]
    heads: tuple[int, ...]
    windows: tuple[int, ...] = (4, 4, 8, 4)
    decoder_heads: tuple[int, ...] = (6, 12, 24)
    decoder_windows: tuple[int, ...] = (4, 4, 8)
    outputs: int = 1

    @property
    def step(self) -> Size:
        """Voxels of the image per voxel of the highest resolution."""
        return tuple(a * b for a, b in zip(*self.embedding_strides, strict=True))


VARIANTS = {
    "tumor": Variant(96, ((2, 2, 2), (2, 2, 2)), heads=(3, 6, 12, 24)),
    "synapse": Variant(192, ((2, 2, 2), (1, 2, 2)), heads=(6, 12, 24, 48), outputs=3),
}


class NNFormer(nn.Module):
    """A U-Net whose stages are two transformer blocks over windows, the second one's shifted.

    Sizes of windows follow from the patch, and the table of each window's bias with them: the
    network is made for one patch. The third published variant, for ACDC, is not offered: what is
    known of it does not suffice to build it.

    The relative bias keeps the published code's index into its table, in which different offsets
    share rows (see `bias_index`): published weights are trained with it.

    Where this was written from, these are inferences from Swin transformers, not statements: the
    order of query, key and value and of heads in their linear layers, the order of padding, shift
    and cropping, the offset's sign (query minus key), the scaling of queries in the decoder, the
    same drop path for both branches of a block and its scaling. Names of the patch embedding's
    parameters beyond `proj1.conv1` are ours: published weights need them renamed.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    variant
        "tumor" (38 million parameters, one output) or "synapse" (150 million, three outputs with
        deep supervision).
    patch_size
        Of the images, by default 128x128x128 or 64x128x128.
    deep_supervision
        Whether `forward` returns all outputs that the variant has.

    Raises
    ------
    ConfigurationError
        There is no such variant, or it does not take the patch.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        variant: str = "tumor",
        patch_size: Sequence[int] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size = nnformer_patch(variant, patch_size)
        size = VARIANTS[variant]
        grid = tuple(n // step for n, step in zip(self.patch_size, size.step, strict=True))
        grids = [tuple(n // 2**stage for n in grid) for stage in range(STAGES)]
        self.model_down = Encoder(size, input_channels, grids)
        self.decoder = Decoder(size, grids)
        self.decoder.deep_supervision = deep_supervision and size.outputs > 1
        outputs = size.outputs if deep_supervision else 1
        self.final = nn.ModuleList(
            Head(size.embedding * 2**level, num_classes, size.step) for level in range(outputs)
        )
        if not deep_supervision:
            ignore_further_heads(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or of all outputs in a list, highest resolution first.

        Raises
        ------
        NetworkError
            The images are not of the size for which the network is made.
        """
        if tuple(x.shape[2:]) != self.patch_size:
            raise NetworkError(
                f"nnFormer is made for images of {self.patch_size}, not {tuple(x.shape[2:])}."
            )
        results = self.decoder(self.model_down(x))
        if self.decoder.deep_supervision:
            return [head(result) for head, result in zip(self.final, results, strict=False)]
        logits: Tensor = self.final[0](results[0])
        return logits

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Every transformer block, see `checkpoint_activations`."""
        return (module for module in self.modules() if isinstance(module, Block | CrossBlock))


class Encoder(nn.Module):
    """Embedding and four stages; returns each stage's normalised result."""

    def __init__(self, size: Variant, input_channels: int, grids: Sequence[Size]) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(input_channels, size.embedding, size.embedding_strides)
        rates = drop_path_rates(2 * STAGES)
        widths = [size.embedding * 2**stage for stage in range(STAGES)]
        self.layers = nn.ModuleList(
            Stage(
                widths[stage],
                size.heads[stage],
                Windows.of(grids[stage], size.windows[stage]),
                rates[2 * stage : 2 * stage + 2],
                has_downsampling=stage < STAGES - 1,
            )
            for stage in range(STAGES)
        )
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all stages, highest resolution first, from images (batch, channels, …)."""
        x, results = self.patch_embed(x), []
        for number, stage in enumerate(self.layers):
            result, x = stage(x)
            results.append(self.get_submodule(f"norm{number}")(result))
        return results


class Stage(nn.Module):
    """Two blocks, and what halves their result on its way to the next stage."""

    def __init__(
        self,
        width: int,
        heads: int,
        windows: "Windows",
        rates: Sequence[float],
        *,
        has_downsampling: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, layout, rate)
            for layout, rate in zip((windows.unshifted, windows), rates, strict=True)
        )
        self.downsample = Downsampling(width) if has_downsampling else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks' result, and the same halved, where there is a next stage."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class Decoder(nn.Module):
    """Three levels; `layers` has the highest resolution first, and they run from the lowest."""

    def __init__(self, size: Variant, grids: Sequence[Size]) -> None:
        super().__init__()
        self.deep_supervision = False
        levels = len(size.decoder_heads)
        rates = drop_path_rates(2 * levels)
        self.layers = nn.ModuleList(
            Level(
                size.embedding * 2**level,
                size.decoder_heads[level],
                Windows.of(grids[level], size.decoder_windows[level]),
                rates[2 * (levels - 1 - level) :][:2],
            )
            for level in range(levels)
        )

    def forward(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """The results of all levels, highest resolution first."""
        x, results = skips[-1], []
        for layer, skip in zip(reversed(self.layers), skips[-2::-1], strict=True):
            x = layer(x, skip)
            results.append(x)
        return results[::-1]


class Level(nn.Module):
    """Upsampling, a block that attends to the skip, and one that is shifted."""

    def __init__(self, width: int, heads: int, windows: "Windows", rates: Sequence[float]) -> None:
        super().__init__()
        self.Upsample = Upsampling(width)
        self.blocks = nn.ModuleList(
            (
                CrossBlock(width, heads, windows.unshifted, rates[0]),
                Block(width, heads, windows, rates[1]),
            )
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """The level's result from the one below and the encoder's."""
        first, second = self.blocks
        result: Tensor = second(first(self.Upsample(x), skip))
        return result


@dataclass(frozen=True)
class Windows:
    """Cubes of `side` voxels that attend within themselves, moved by `shift` on every axis."""

    grid: Size
    side: int
    shift: int

    @classmethod
    def of(cls, grid: Size, side: int) -> "Windows":
        """Shifted windows; where they fill the shortest axis, they become its cube and stay.

        >>> Windows.of((16, 16, 16), 4).shift, Windows.of((4, 8, 8), 8)
        (2, Windows(grid=(4, 8, 8), side=4, shift=0))
        """
        if min(grid) <= side:
            return cls(grid, min(grid), 0)
        return cls(grid, side, side // 2)

    @property
    def unshifted(self) -> "Windows":
        """The same windows where they are not moved."""
        return Windows(self.grid, self.side, 0)

    @property
    def padded(self) -> Size:
        """The grid with zeros at its end, up to multiples of the side."""
        return tuple(-(-n // self.side) * self.side for n in self.grid)

    def split(self, x: Tensor) -> Tensor:
        """(batch, *grid, channels) to (batch, windows, voxels of one, channels)."""
        amounts = [self.padded[axis] - self.grid[axis] for axis in (2, 1, 0)]
        x = pad(x, (0, 0, *(end for amount in amounts for end in (0, amount))))
        if self.shift:
            x = x.roll((-self.shift,) * 3, (1, 2, 3))
        return _cut(x, self.side)

    def join(self, windows: Tensor) -> Tensor:
        """The inverse of `split`."""
        counts = [n // self.side for n in self.padded]
        batch, _, _, channels = windows.shape
        x = windows.view(batch, *counts, self.side, self.side, self.side, channels)
        x = x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, *self.padded, channels)
        if self.shift:
            x = x.roll((self.shift,) * 3, (1, 2, 3))
        return x[:, : self.grid[0], : self.grid[1], : self.grid[2]]

    def mask(self) -> Tensor:
        """What is added to attention after the shift, (windows, voxels, voxels).

        Every axis is cut before the last window and before the last `shift` voxels into three
        regions; voxels of different ones do not attend to each other.
        """
        axes = []
        for n in self.padded:
            voxel = torch.arange(n)
            axes.append((voxel >= n - self.side).long() + (voxel >= n - self.shift))
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        region = _cut((9 * z + 3 * y + x)[None, ..., None], self.side)[0, :, :, 0]
        return MASKED * (region[:, :, None] != region[:, None, :])


def _cut(x: Tensor, side: int) -> Tensor:
    """(batch, z, y, x, channels) in windows: (batch, windows, voxels of one, channels)."""
    batch, *size, channels = x.shape
    z, y, w = (n // side for n in size)
    x = x.reshape(batch, z, side, y, side, w, side, channels)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, z * y * w, side**3, channels)


def bias_index(side: int) -> Tensor:
    """For each query and key of a window, the row of the bias table, (voxels, voxels).

    The published code's: an offset (a, b, c) from key to query, shifted to begin at 0, is row
    a (3 side - 1) + b (2 side - 1) + c of the table of (2 side - 1)³ rows. So different offsets
    share a row, and of the rows only the first (2 side - 2) (5 side - 1) + 1 are read.
    """
    place = torch.cartesian_prod(*[torch.arange(side)] * 3).view(-1, 3)
    offset = place[:, None] - place[None] + side - 1
    return (offset * torch.tensor((3 * side - 1, 2 * side - 1, 1))).sum(2)


class WindowAttention(nn.Module):
    """Attention of several heads within windows, with a bias for each offset.

    Queries, keys and values are linear in `x`, or with `is_cross` keys and values in another map,
    and `x` is the query itself.
    """

    relative_position_index: Tensor
    mask: Tensor | None

    def __init__(self, width: int, heads: int, windows: Windows, *, is_cross: bool = False) -> None:
        super().__init__()
        self.windows, self.heads, self.scale = windows, heads, (width // heads) ** -0.5
        table = torch.empty((2 * windows.side - 1) ** 3, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        if is_cross:
            self.kv = nn.Linear(width, 2 * width)
        else:
            self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        index = bias_index(windows.side)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.register_buffer("mask", windows.mask() if windows.shift else None, persistent=False)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Attend within windows of `x` (batch, *grid, channels), or from there to `other`'s."""
        if other is None:
            q, k, v = self._in_heads(self.qkv(self.windows.split(x)), 3)
        else:
            [q] = self._in_heads(self.windows.split(x), 1)
            k, v = self._in_heads(self.kv(self.windows.split(other)), 2)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if self.mask is not None:
            bias = bias + self.mask[:, None]
        weights = (q * self.scale @ k.transpose(-2, -1) + bias).softmax(-1)
        attended = (weights.to(v.dtype) @ v).transpose(2, 3).flatten(3)
        return self.windows.join(self.proj(attended))

    def _in_heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Parts of (batch, windows, heads, voxels, channels of a head)."""
        batch, windows, voxels, _ = x.shape
        split = x.view(batch, windows, voxels, parts, self.heads, -1)
        return split.permute(3, 0, 1, 4, 2, 5).unbind(0)


class Block(nn.Module):
    """Attention and a perceptron, each of the normalised input and added to it."""

    def __init__(self, width: int, heads: int, windows: Windows, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, windows)
        self.mlp = Perceptron(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, *grid, channels)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result


class CrossBlock(nn.Module):
    """As `Block`, of the sum of two maps: from the first one attention looks at the second."""

    def __init__(self, width: int, heads: int, windows: Windows, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, windows, is_cross=True)
        self.mlp = Perceptron(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Apply the block to two maps of shape (batch, *grid, channels)."""
        attended = self.attn(self.norm1(x), self.norm1(skip))
        x = x + skip + self.drop_path(attended)
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result


class Perceptron(nn.Module):
    """Two linear layers, four times as wide in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers along the last axis."""
        result: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return result


class PatchEmbedding(nn.Module):
    """Four convolutions, of which the first and the third have a stride."""

    def __init__(self, inputs: int, width: int, strides: tuple[Size, Size]) -> None:
        super().__init__()
        self.proj1 = ConvolutionPair(inputs, width // 2, strides[0])
        self.norm1 = nn.LayerNorm(width // 2)
        self.proj2 = ConvolutionPair(width // 2, width, strides[1])
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, *image) to (batch, *grid, channels)."""
        x = self.norm1(nn.functional.gelu(_channels_last(self.proj1(x))))
        result: Tensor = self.norm2(_channels_last(self.proj2(_channels_first(x))))
        return result


class ConvolutionPair(nn.Module):
    """A convolution with a stride, GELU, normalisation, and a second convolution."""

    def __init__(self, inputs: int, outputs: int, stride: Size) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, padding=1)  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to `x` of shape (batch, channels, *image)."""
        x = self.norm(nn.functional.gelu(_channels_last(self.conv1(x))))
        result: Tensor = self.conv2(_channels_first(x))
        return result


class Downsampling(nn.Module):
    """GELU, normalisation and a convolution to half the size and twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.reduction = nn.Conv3d(width, 2 * width, 3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to `x` of shape (batch, *grid, channels)."""
        x = self.norm(nn.functional.gelu(x))
        return _channels_last(self.reduction(_channels_first(x)))


class Upsampling(nn.Module):
    """Normalisation and a transposed convolution to twice the size and half the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.up = nn.ConvTranspose3d(2 * width, width, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to `x` of shape (batch, *grid, channels)."""
        return _channels_last(self.up(_channels_first(self.norm(x))))


class Head(nn.Module):
    """Logits of one level, each of its voxels spread over `step` voxels."""

    def __init__(self, width: int, outputs: int, step: Size) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(width, outputs, step, step)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes, *image) of `x` (batch, *grid, channels)."""
        result: Tensor = self.up(_channels_first(x))
        return result


def drop_path_rates(blocks: int) -> list[float]:
    """The rate of each block, in the order in which they run."""
    return [MAX_DROP_PATH * block / (blocks - 1) for block in range(blocks)]


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1)
