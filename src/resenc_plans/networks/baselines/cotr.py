"""CoTr: a convolutional network with a deformable transformer over its two lowest resolutions.

Xie et al. 2021, "CoTr: Efficiently Bridging CNN and Transformer for 3D Medical Image Segmentation".
"""

from collections.abc import Iterator, Sequence
from math import cos, pi, prod, sin

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, grid_sample, interpolate

from resenc_plans.errors import ConfigurationError

WIDTHS = (64, 192, 384, 384)
"""Channels of the levels, highest resolution first; the transformer has the last two."""

BLOCKS = (3, 3, 2)
"""Residual blocks of the levels below the first."""

LAYERS, HEADS, POINTS = 6, 6, 4
"""Layers of the transformer; heads, and what each samples per level."""

LEVELS = 2
"""Resolutions that the transformer sees."""

FEED_FORWARD, DROPOUT = 1536, 0.1

SLOPE = 0.01
"""Of the leaky rectifiers."""

OWN_ORDER, EXCHANGED_ORDER = (2, 1, 0), (0, 2, 1)
"""Which axes of the map (0 is z) have their coordinates where the sampler expects x, y and z."""

Size = tuple[int, ...]


class CoTr(nn.Module):
    """A residual encoder, a deformable transformer on its tokens, and a decoder that adds skips.

    The first convolution halves y and x only, and so does the last step to full resolution.

    There are two networks of this name. Here, a query samples around its own voxel. The public
    code hands the sampler its coordinates in another order: a query at relative (z, y, x) samples
    around (y, x, z). That holds for every map, cubes included, and published results contain it;
    `exchanged_axes` asks for it. No count of parameters tells the two apart.

    Where this was written from, these are inferences, not statements: the epsilon of the
    normalisations (1e-5), no dropout on the weights of attention, the exact GELU, the order head,
    level, point, coordinate in the offsets' layer (Deformable DETR's), the order of coordinates in
    the offsets' initial directions, initial biases of the transformer's layers and of the heads
    (torch's). The slope in the convolutions' initialisation is unknown: 0.01 here. Names of
    parameters are ours, so that published weights do not load. The choice of batch normalisation
    with rectifiers is not offered.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of the logits.
    exchanged_axes
        Whether to sample as the public code does.
    deep_supervision
        Whether `forward` returns four outputs: of the image's size, with y and x halved, and twice
        halved on all axes.

    Raises
    ------
    ConfigurationError
        `exchanged_axes` is neither true nor false.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        exchanged_axes: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(exchanged_axes, bool):
            raise ConfigurationError(
                f"exchanged_axes is {exchanged_axes!r}: true (as published) or false is needed."
            )
        self.encoder = Backbone(input_channels)
        self.transformer = Transformer(EXCHANGED_ORDER if exchanged_axes else OWN_ORDER)
        self.decoder = Decoder(num_classes, deep_supervision=deep_supervision)
        for part in (self.encoder, self.decoder):
            for module in part.modules():
                if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                    nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits at full resolution, or of all outputs in a list, highest resolution first."""
        levels = self.encoder(x)
        levels[-LEVELS:] = self.transformer(levels[-LEVELS:])
        logits: Tensor | list[Tensor] = self.decoder(levels)
        return logits

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Residual blocks and the transformer's layers, see `checkpoint_activations`."""
        kinds = (Block, TransformerLayer, DecoderBlock)
        return (module for module in self.modules() if isinstance(module, kinds))


class Backbone(nn.Module):
    """A convolution that halves y and x, and three levels of blocks that halve all axes."""

    def __init__(self, input_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(input_channels, WIDTHS[0], 7, (1, 2, 2), padding=3, bias=False),
            _norm(WIDTHS[0]),
            _act(),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                Block(inputs, outputs, 2), *(Block(outputs, outputs, 1) for _ in range(blocks - 1))
            )
            for inputs, outputs, blocks in zip(WIDTHS, WIDTHS[1:], BLOCKS, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of all levels, highest resolution first."""
        results = [self.stem(x)]
        for level in self.levels:
            results.append(level(results[-1]))
        return results


class Block(nn.Module):
    """One convolution beside a skip, which is projected where there is a stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = _norm(outputs)
        self.act = _act()
        self.skip = (
            nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), _norm(outputs))
            if stride != 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, z, y, x)."""
        result: Tensor = self.act(self.norm(self.conv(x)) + self.skip(x))
        return result


class Transformer(nn.Module):
    """Deformable attention among the voxels of all levels, the finer level's first."""

    def __init__(self, order: Size) -> None:
        super().__init__()
        width = WIDTHS[-1]
        self.order = order
        self.level_vectors = nn.Parameter(nn.init.normal_(torch.empty(LEVELS, width)))
        self.layers = nn.ModuleList(
            TransformerLayer(
                DeformableAttention(width, HEADS, LEVELS, POINTS, order), FEED_FORWARD, DROPOUT
            )
            for _ in range(LAYERS)
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The levels (batch, channels, z, y, x) after all layers."""
        sizes = [tuple(level.shape[2:]) for level in levels]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        position = torch.cat(
            [
                position_code(size, tokens.shape[2] // 3, tokens.device) + vector
                for size, vector in zip(sizes, self.level_vectors, strict=True)
            ]
        )
        places = torch.cat([centres(size, self.order, tokens.device) for size in sizes])
        for layer in self.layers:
            tokens = layer(tokens, position, places, sizes)
        parts = torch.split(tokens.transpose(1, 2), [prod(size) for size in sizes], 2)
        return [
            part.reshape(*part.shape[:2], *size) for part, size in zip(parts, sizes, strict=True)
        ]


class TransformerLayer(nn.Module):
    """Attention and two linear layers; each is added to its input, and the sum normalised."""

    def __init__(self, attention: "DeformableAttention", feed_forward: int, dropout: float) -> None:
        super().__init__()
        width = attention.output.out_features
        self.attention = attention
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear1, self.linear2 = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, position: Tensor, places: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Apply the layer to tokens (batch, tokens, width); see `DeformableAttention`."""
        attended = self.attention(x + position, x, places, sizes)
        x = self.norm1(x + self.dropout(attended))
        wide = self.dropout(gelu(self.linear1(x)))
        result: Tensor = self.norm2(x + self.dropout(self.linear2(wide)))
        return result


class DeformableAttention(nn.Module):
    """Each query samples a few points of every level, around its own place.

    Zhu et al. 2021, "Deformable DETR". `order` are the map's axes whose coordinates the sampler
    gets as x, y and z, and in which offsets are stored.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int, order: Size) -> None:
        super().__init__()
        self.shape, self.order = (heads, levels, points), order
        self.offsets = nn.Linear(width, heads * levels * points * 3)
        self.weights = nn.Linear(width, heads * levels * points)
        self.values, self.output = nn.Linear(width, width), nn.Linear(width, width)
        for linear in (self.offsets, self.weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.values, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        directions = torch.tensor([_direction(2 * pi * head / heads) for head in range(heads)])
        reach = torch.arange(1.0, points + 1).view(1, 1, points, 1)
        with torch.no_grad():
            self.offsets.bias.view(heads, levels, points, 3).copy_(
                directions.view(heads, 1, 1, 3) * reach
            )

    def forward(self, query: Tensor, x: Tensor, places: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Attend from queries to tokens, both (batch, tokens, width).

        Parameters
        ----------
        query, x
            Where offsets and weights come from, and the values.
        places
            Of the queries in their own levels, from 0 to 1 along each axis, (tokens, 3).
        sizes
            Of the levels; their tokens follow each other, the last axis fastest.
        """
        heads, levels, points = self.shape
        batch, tokens, width = query.shape
        offsets = self.offsets(query).view(batch, tokens, heads, levels, points, 3)
        weights = self.weights(query).view(batch, tokens, heads, levels * points).softmax(3)
        weights = weights.view(batch, tokens, heads, levels, points)
        values = self.values(x).view(batch, tokens, heads, width // heads)
        parts = values.split([prod(size) for size in sizes], 1)
        attended = query.new_zeros(batch * heads, width // heads, tokens)
        for level, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            extent = torch.stack([places.new_full((), size[axis]) for axis in self.order])
            grid = 2 * (places[:, None, None] + offsets[:, :, :, level] / extent) - 1
            grid = grid.transpose(1, 2).reshape(batch * heads, tokens, points, 1, 3)
            level_map = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, *size)
            sampled = grid_sample(level_map.to(grid.dtype), grid, align_corners=False)
            share = (
                weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, tokens, points)
            )
            attended = attended + (sampled.squeeze(4) * share).sum(3)
        joined = attended.view(batch, width, tokens).transpose(1, 2)
        result: Tensor = self.output(joined)
        return result


class Decoder(nn.Module):
    """Upsample, add the level's features, convolve; a head at each resolution."""

    def __init__(self, num_classes: int, *, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        lowest_first = list(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.upsampling = nn.ModuleList(
            nn.ConvTranspose3d(inputs, outputs, 2, 2, bias=False)
            for inputs, outputs in lowest_first
        )
        self.blocks = nn.ModuleList(DecoderBlock(outputs) for _, outputs in lowest_first)
        self.heads = nn.ModuleList(
            nn.Conv3d(width, num_classes, 1) for width in (WIDTHS[0], *WIDTHS[:3])
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits from all levels, highest resolution first."""
        x, results = levels[-1], []
        for up, block, level in zip(self.upsampling, self.blocks, levels[-2::-1], strict=True):
            x = block(up(x) + level)
            results.append(x)
        results.append(interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="trilinear"))
        if not self.deep_supervision:
            logits: Tensor = self.heads[0](results[-1])
            return logits
        return [head(result) for head, result in zip(self.heads, results[::-1], strict=True)]


class DecoderBlock(nn.Module):
    """Two convolutions beside a skip; nothing follows the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            _norm(width),
            _act(),
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            _norm(width),
            _act(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x` of shape (batch, channels, z, y, x)."""
        result: Tensor = self.layers(x) + x
        return result


def position_code(size: Size, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of each voxel's place, `width` per axis, (voxels, axes · width).

    Wavelengths change every three channels, although sine and cosine alternate.
    """
    channel = torch.arange(width, device=device)
    rates = 10000.0 ** (-3 * (channel // 3) / width)
    codes = []
    for axis, length in enumerate(size):
        place = 2 * pi * (torch.arange(length, device=device) + 0.5) / (length + 1e-6)
        angle = torch.outer(place, rates)
        code = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
        shape = [1] * len(size)
        shape[axis] = length
        codes.append(code.view(*shape, width).expand(*size, width))
    return torch.cat(codes, -1).flatten(0, -2)


def centres(size: Size, order: Size, device: torch.device) -> Tensor:
    """The centre of each voxel, from 0 to 1 along each axis, axes in `order`, (voxels, axes)."""
    axes = [(torch.arange(n, device=device) + 0.5) / n for n in size]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([grid[axis] for axis in order], -1).flatten(0, -2)


def _direction(angle: float) -> list[float]:
    """Where a head looks at first; its largest component is 1 or -1."""
    parts = (cos(angle), sin(angle) * cos(angle), sin(angle) ** 2)
    largest = max(map(abs, parts))
    return [part / largest for part in parts]


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True)


def _act() -> nn.Module:
    return nn.LeakyReLU(SLOPE, inplace=True)
