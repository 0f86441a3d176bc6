"""nnFormer: published counts, and its attention against loops over voxels, from its description."""

from collections.abc import Iterator
from itertools import product
from math import erf, exp, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resenc_plans.errors import ConfigurationError, NetworkError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.baselines.nnformer import (
    Block,
    CrossBlock,
    Downsampling,
    NNFormer,
    PatchEmbedding,
    Upsampling,
    WindowAttention,
    Windows,
    bias_index,
)
from resenc_plans.networks.build import build_network
from resenc_plans.networks.check import check_network
from resenc_plans.plans.known_networks import resolutions_of
from tests.networks.configurations import configuration, output_shapes

NAME = "resenc_plans.networks.baselines.nnformer.NNFormer"

Voxel = tuple[int, int, int]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("variant", "patch_size", "channels", "classes", "parameters"),
    [
        ("tumor", None, 1, 14, 37_664_288),
        ("tumor", None, 4, 4, 37_606_726),
        ("tumor", (96, 96, 96), 1, 14, 37_506_656),
        ("tumor", (64, 64, 64), 1, 14, 37_430_816),
        ("tumor", (64, 128, 128), 1, 14, 37_430_816),
        ("tumor", (32, 32, 32), 1, 14, 37_406_816),
        ("tumor", (160, 160, 160), 1, 14, 37_664_288),
        ("synapse", None, 1, 14, 150_054_210),
        ("synapse", (32, 64, 64), 1, 14, 149_732_802),
        ("synapse", (16, 32, 32), 1, 14, 149_699_970),
    ],
)
def test_sizes_are_the_published_ones(
    variant: str, patch_size: Any, channels: int, classes: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = NNFormer(channels, classes, variant, patch_size, deep_supervision=True)
    assert count(network) == parameters


def test_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        tumor = NNFormer(1, 14)
        synapse = NNFormer(1, 14, "synapse", deep_supervision=True)
        assert count(NNFormer(1, 14, "synapse")) == 149_538_086
    for network, embedding, encoder, decoder, heads in (
        (tumor, 437_616, 29_398_230, 7_742_412, 86_030),
        (synapse, 1_746_144, 117_299_628, 30_406_284, 602_154),
    ):
        assert count(network.model_down.patch_embed) == embedding
        assert count(network.model_down) - embedding == encoder
        assert count(network.decoder) == decoder
        assert count(network.final) == heads


def test_parameters_carry_the_names_of_the_published_weights() -> None:
    with torch.device("meta"):
        names = set(NNFormer(1, 2).state_dict())
    down = "model_down.layers.2"
    assert {
        *("model_down.patch_embed.proj1.conv1.weight", f"{down}.blocks.1.attn.qkv.bias"),
        *(
            f"{down}.blocks.0.attn.relative_position_bias_table",
            f"{down}.blocks.0.attn.proj.weight",
        ),
        *(f"{down}.blocks.1.norm1.weight", f"{down}.blocks.1.mlp.fc2.bias"),
        *(f"{down}.downsample.reduction.weight", f"{down}.downsample.norm.weight"),
        *("model_down.norm3.bias", "decoder.layers.0.blocks.0.attn.kv.weight"),
        *("decoder.layers.2.blocks.1.attn.qkv.weight", "decoder.layers.1.Upsample.up.weight"),
        *("decoder.layers.1.Upsample.norm.bias", "final.0.up.bias"),
    } <= names
    assert not any("model_down.layers.3.downsample" in name for name in names)
    assert not any("index" in name or "mask" in name for name in names)


def test_widths_heads_and_windows_are_those_of_the_stages() -> None:
    with torch.device("meta"):
        network = NNFormer(1, 2)
    stages = [
        (block.attn.heads, block.attn.windows.side, block.attn.windows.shift)
        for stage in (*network.model_down.layers, *network.decoder.layers)
        for block in stage.blocks
    ]
    assert stages == [
        *[(3, 4, 0), (3, 4, 2), (6, 4, 0), (6, 4, 2), (12, 8, 0), (12, 8, 0), (24, 4, 0)],
        *[(24, 4, 0), (6, 4, 0), (6, 4, 2), (12, 4, 0), (12, 4, 2), (24, 8, 0), (24, 8, 0)],
    ]
    rates = [
        [round(block.drop_path.p, 4) for stage in stages for block in stage.blocks]
        for stages in (network.model_down.layers, reversed(network.decoder.layers))
    ]
    assert rates == [
        [0.0, 0.0286, 0.0571, 0.0857, 0.1143, 0.1429, 0.1714, 0.2],
        [0.0, 0.04, 0.08, 0.12, 0.16, 0.2],
    ]


def test_windows_fill_the_shortest_axis_and_then_stay() -> None:
    assert Windows.of((10, 10, 10), 8) == Windows((10, 10, 10), 8, 4)
    assert Windows.of((16, 4, 32), 4) == Windows((16, 4, 32), 4, 0)
    assert Windows.of((2, 4, 4), 4) == Windows((2, 4, 4), 2, 0)


@pytest.mark.parametrize(("side", "rows"), [(4, 115), (8, 547)])
def test_offsets_share_rows_of_the_bias_table_as_published(side: int, rows: int) -> None:
    index = bias_index(side)
    assert index.unique().numel() == rows
    voxels = list(product(range(side), repeat=3))
    for query, key in ((0, 0), (5, 17), (side**3 - 1, 0), (0, side**3 - 1)):
        a, b, c = (q - k + side - 1 for q, k in zip(voxels[query], voxels[key], strict=True))
        expected = a * (3 * side - 1) + b * (2 * side - 1) + c
        assert index[query, key] == expected


def groups(windows: Windows) -> Iterator[list[Voxel]]:
    """The voxels of each window in order, in the padded map, from the shift's definition."""
    side, shift, size = windows.side, windows.shift, windows.padded
    for corner in product(*(range(0, n, side) for n in size)):
        yield [
            tuple((c + o + shift) % n for c, o, n in zip(corner, offset, size, strict=True))  # type: ignore[misc]
            for offset in product(range(side), repeat=3)
        ]


def region(voxel: Voxel, windows: Windows) -> tuple[int, ...]:
    """Per axis, which of three parts of the shifted map the voxel is in."""
    parts = []
    for at, n in zip(voxel, windows.padded, strict=True):
        shifted = (at - windows.shift) % n
        parts.append(0 if shifted < n - windows.side else 1 if shifted < n - windows.shift else 2)
    return tuple(parts)


def slow_attention(layer: WindowAttention, x: Tensor, other: Tensor | None = None) -> Tensor:
    """On one map (z, y, x, channels): window by window, head by head, query by query."""
    windows, heads = layer.windows, layer.heads
    width, zero = x.shape[-1], torch.zeros(x.shape[-1], dtype=x.dtype)
    head_width, side, table = width // heads, windows.side, layer.relative_position_bias_table
    result = torch.zeros_like(x)

    def at(source: Tensor, voxel: Voxel) -> Tensor:
        inside = all(i < n for i, n in zip(voxel, windows.grid, strict=True))
        return source[voxel] if inside else zero

    for voxels in groups(windows):
        if other is None:
            three = [layer.qkv.weight @ at(x, v) + layer.qkv.bias for v in voxels]
            qs, ks, vs = ([t[i * width : (i + 1) * width] for t in three] for i in range(3))
        else:
            two = [layer.kv.weight @ at(other, v) + layer.kv.bias for v in voxels]
            qs = [at(x, v) for v in voxels]
            ks, vs = ([t[i * width : (i + 1) * width] for t in two] for i in range(2))
        places = list(product(range(side), repeat=3))
        for number, query in enumerate(voxels):
            joined = []
            for head in range(heads):
                part = slice(head * head_width, (head + 1) * head_width)
                scores = []
                for place, key, k in zip(places, voxels, ks, strict=True):
                    a, b, c = (i - j + side - 1 for i, j in zip(places[number], place, strict=True))
                    row = a * (3 * side - 1) + b * (2 * side - 1) + c
                    score = float(qs[number][part] @ k[part]) / sqrt(head_width)
                    score += float(table[row, head])
                    if windows.shift and region(query, windows) != region(key, windows):
                        score -= 100
                    scores.append(score)
                total = sum(exp(s) for s in scores)
                joined.append(
                    sum(exp(s) / total * v[part] for s, v in zip(scores, vs, strict=True))
                )
            if all(i < n for i, n in zip(query, windows.grid, strict=True)):
                result[query] = layer.proj.weight @ torch.cat(joined) + layer.proj.bias  # type: ignore[arg-type]
    return result


LAYOUTS = [
    Windows((4, 4, 4), 2, 0),
    Windows((4, 4, 4), 2, 1),
    Windows((5, 4, 3), 2, 1),
    Windows((4, 6, 7), 3, 1),
    Windows((2, 4, 4), 2, 0),
]


def attention(windows: Windows, **options: Any) -> WindowAttention:
    torch.manual_seed(0)
    layer = WindowAttention(4, 2, windows, **options).double()
    nn.init.normal_(layer.relative_position_bias_table)
    return layer.requires_grad_(False)


@pytest.mark.parametrize("windows", LAYOUTS)
def test_attention_in_windows_does_what_its_description_says(windows: Windows) -> None:
    layer = attention(windows)
    x = torch.randn(2, *windows.grid, 4, dtype=torch.float64)
    assert torch.allclose(layer(x)[1], slow_attention(layer, x[1]))


@pytest.mark.parametrize("windows", [layout for layout in LAYOUTS if not layout.shift])
def test_the_decoder_attends_to_the_skip_without_projecting_queries(windows: Windows) -> None:
    layer = attention(windows, is_cross=True)
    x, other = (torch.randn(1, *windows.grid, 4, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(layer(x, other)[0], slow_attention(layer, x[0], other[0]))


def gelu(x: Tensor) -> Tensor:
    return x.clone().apply_(lambda v: v * (1 + erf(v / sqrt(2))) / 2)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def mlp(x: Tensor, block: Any) -> Tensor:
    wide = gelu(x @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return wide @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


def randomised(module: Any) -> Any:
    torch.manual_seed(0)
    module = module.double().requires_grad_(False)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def test_blocks_add_attention_and_a_perceptron() -> None:
    windows = Windows((4, 4, 2), 2, 1)
    block = randomised(Block(4, 2, windows, 0.0))
    x, skip = (torch.randn(1, 4, 4, 2, 4, dtype=torch.float64) for _ in range(2))
    y = x[0] + slow_attention(block.attn, layer_norm(x[0], block.norm1))
    assert torch.allclose(block(x)[0], y + mlp(layer_norm(y, block.norm2), block))
    cross = randomised(CrossBlock(4, 2, windows.unshifted, 0.0))
    query, keys = layer_norm(x[0], cross.norm1), layer_norm(skip[0], cross.norm1)
    y = x[0] + skip[0] + slow_attention(cross.attn, query, keys)
    assert torch.allclose(cross(x, skip)[0], y + mlp(layer_norm(y, cross.norm2), cross))


def test_a_path_that_is_dropped_leaves_the_sum_of_the_inputs() -> None:
    windows = Windows((2, 2, 2), 2, 0)
    x, skip = torch.randn(2, 2, 2, 2, 2, 4)
    assert torch.equal(Block(4, 2, windows, 1.0)(x), x)
    assert torch.equal(CrossBlock(4, 2, windows, 1.0)(x, skip), x + skip)


def test_biases_of_offsets_start_small() -> None:
    torch.manual_seed(0)
    table = WindowAttention(96, 3, Windows((4, 4, 4), 4, 0)).relative_position_bias_table
    assert table.std().item() == pytest.approx(0.02, rel=0.1)


def test_changes_of_resolution_do_what_their_description_says() -> None:
    conv, transposed = nn.functional.conv3d, nn.functional.conv_transpose3d
    first, last = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)
    x = torch.randn(1, 4, 2, 6, 4, dtype=torch.float64)
    down = randomised(Downsampling(4))
    expected = layer_norm(gelu(x), down.norm).permute(first)
    expected = conv(expected, down.reduction.weight, down.reduction.bias, 2, 1).permute(last)
    assert torch.allclose(down(x), expected)
    up = randomised(Upsampling(2))
    expected = transposed(layer_norm(x, up.norm).permute(first), up.up.weight, up.up.bias, 2)
    assert torch.allclose(up(x), expected.permute(last))
    embed = randomised(PatchEmbedding(1, 4, ((2, 2, 2), (1, 2, 2))))
    image = torch.randn(1, 1, 4, 8, 8, dtype=torch.float64)
    y = image
    for pair, stride, norm in (
        (embed.proj1, (2, 2, 2), embed.norm1),
        (embed.proj2, (1, 2, 2), None),
    ):
        y = conv(y, pair.conv1.weight, pair.conv1.bias, stride, 1).permute(last)
        y = layer_norm(gelu(y), pair.norm).permute(first)
        y = conv(y, pair.conv2.weight, pair.conv2.bias, 1, 1).permute(last)
        y = y if norm is None else layer_norm(gelu(y), norm).permute(first)
    assert torch.allclose(embed(image), layer_norm(y, embed.norm2))
    assert embed(image).shape == (1, 2, 2, 2, 4)


@pytest.mark.parametrize("windows", [Windows((3, 2, 4), 2, 1), Windows((2, 4, 2), 2, 0)])
def test_gradients_are_those_of_the_function(windows: Windows) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(2, 2, windows).double()
    x = torch.randn(1, *windows.grid, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    cross = WindowAttention(2, 2, windows.unshifted, is_cross=True).double()
    other = torch.randn_like(x, requires_grad=True)
    assert torch.autograd.gradcheck(cross, (x, other))


def test_stages_normalise_what_goes_to_the_skip_only() -> None:
    torch.manual_seed(0)
    network = NNFormer(1, 2, patch_size=(32, 32, 32)).eval()
    encoder: Any = network.model_down
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        x, skips = encoder.patch_embed(image), []
        for number, stage in enumerate(encoder.layers):
            for block in stage.blocks:
                x = block(x)
            skips.append(getattr(encoder, f"norm{number}")(x))
            x = stage.downsample(x) if number < 3 else x
        x = skips[3]
        for level in (2, 1, 0):
            layer: Any = network.decoder.layers[level]
            first, second = layer.blocks
            x = second(first(layer.Upsample(x), skips[level]))
        assert torch.equal(network(image), network.final[0](x))


@pytest.mark.parametrize(
    ("variant", "patch_size"), [("tumor", (32, 32, 64)), ("synapse", (16, 32, 32))]
)
def test_outputs_are_those_that_training_expects(variant: str, patch_size: tuple[int, ...]) -> None:
    arguments = {"variant": variant, "patch_size": list(patch_size)}
    config = configuration(NAME, arguments, patch_size)
    checked = check_network(config, 2, 3)
    shapes = [(2, 3, *size) for size in checked.outputs]
    assert shapes == output_shapes(config, 2, 3)
    assert len(shapes) == (1 if variant == "tumor" else 3)
    assert resolutions_of(config).weights == (None if variant == "tumor" else (4 / 7, 2 / 7, 1 / 7))


def test_blocks_can_be_calculated_twice() -> None:
    torch.manual_seed(0)
    network = NNFormer(1, 2, patch_size=(32, 32, 32)).eval()
    assert len(list(network.checkpointed_blocks())) == 14
    image = torch.randn(1, 1, 32, 32, 32)
    before = network(image)
    checkpoint_activations(network)
    assert torch.equal(network(image), before)


def test_images_of_another_size_are_refused() -> None:
    network = NNFormer(1, 2, patch_size=(32, 32, 32))
    with pytest.raises(NetworkError, match=r"images of \(32, 32, 32\), not \(32, 32, 64\)"):
        network(torch.zeros(1, 1, 32, 32, 64))


@pytest.mark.parametrize(
    ("arguments", "patch_size", "message"),
    [
        (
            {"variant": "liver"},
            (32, 32, 32),
            "variant is 'liver': nnFormer comes as tumor, synapse",
        ),
        ({"variant": "acdc"}, (32, 32, 32), "What is known of acdc does not suffice"),
        ({}, (64, 64, 64), r"is not \[128, 128, 128\], for which the network is made"),
        ({"patch_size": [48, 48, 64]}, (48, 48, 64), r"nearest that it takes: \[64, 64, 64\]"),
        ({"patch_size": [32, 32]}, (32, 32, 32), "patch_size has 2 entries, 3 are needed"),
        ({}, (128, 128), "NNFormer is for images of 3"),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: dict[str, Any], patch_size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(configuration(NAME, arguments, patch_size), 1, 2)
