"""CoTr: published counts, and its transformer against loops over queries, from its description."""

from collections.abc import Sequence
from itertools import product
from math import cos, floor, pi, prod, sin
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.baselines.cotr import (
    EXCHANGED_ORDER,
    OWN_ORDER,
    Block,
    CoTr,
    DecoderBlock,
    DeformableAttention,
    Transformer,
    TransformerLayer,
    centres,
    position_code,
)
from resenc_plans.networks.build import build_network
from tests.networks.configurations import configuration, output_shapes

NAME = "resenc_plans.networks.baselines.cotr.CoTr"

CPU = torch.device("cpu")

SIZES = [(4, 3, 2), (2, 1, 2)]
"""Of two small levels."""

ORDERS = [OWN_ORDER, EXCHANGED_ORDER]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    config = configuration(NAME, {}, (128, 128, 128))
    with torch.device("meta"):
        network: Any = build_network(config, 1, 14)
        assert count(build_network(config, 4, 4)) == 41_931_280
        assert count(CoTr(1, 14, exchanged_axes=True)) == 41_872_504
    assert count(network) == 41_872_504
    assert count(network.encoder) == 20_500_800
    assert count(network.transformer) == 9_316_992
    assert count(network.decoder) == 12_054_712


def test_biases_are_those_of_linear_layers_and_heads_only() -> None:
    with torch.device("meta"):
        network = CoTr(1, 2)
    convolutions = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
    }
    biased = {name for name, module in convolutions.items() if module.bias is not None}
    assert biased == {f"decoder.heads.{number}" for number in range(4)}


def test_outputs_are_those_that_training_expects() -> None:
    config = configuration(NAME, {}, (16, 16, 32))
    torch.manual_seed(0)
    network = build_network(config, 2, 3).eval()
    image = torch.randn(2, 2, 16, 16, 32)
    logits = network(image)
    assert [y.shape for y in logits] == output_shapes(config, 2, 3)
    assert [tuple(y.shape[2:]) for y in logits] == [(16, 16, 32), (16, 8, 16), (8, 4, 8), (4, 2, 4)]
    single = build_network(config, 2, 3, deep_supervision=False).eval()
    single.load_state_dict(network.state_dict())
    assert torch.equal(single(image), logits[0])


def test_the_position_code_does_what_its_description_says() -> None:
    size, width = (4, 3, 2), 9
    code = position_code(size, width, CPU).double()
    assert code.shape == (24, 27)
    for token, voxel in enumerate(product(*map(range, size))):
        for axis in range(3):
            place = 2 * pi * (voxel[axis] + 0.5) / (size[axis] + 1e-6)
            for k in range(width):
                angle = place / 10000 ** (3 * floor(k / 3) / width)
                expected = sin(angle) if k % 2 == 0 else cos(angle)
                assert code[token, axis * width + k] == pytest.approx(expected, abs=1e-5)


def trilinear(level: Tensor, at: Sequence[float]) -> Tensor:
    """The value of (z, y, x, channels) at a place in voxels, zero outside."""
    low = [floor(a) for a in at]
    result = torch.zeros(level.shape[-1], dtype=level.dtype)
    for corner in product((0, 1), repeat=3):
        voxel = tuple(i + c for i, c in zip(low, corner, strict=True))
        share = prod(1 - abs(a - i) for a, i in zip(at, voxel, strict=True))
        if all(0 <= i < n for i, n in zip(voxel, level.shape, strict=False)):
            result += share * level[voxel]
    return result


def slow_attention(
    layer: DeformableAttention, query: Tensor, x: Tensor, sizes: Sequence[tuple[int, ...]]
) -> Tensor:
    """On one sequence: token by token, head by head, point by point."""
    heads, levels, points = layer.shape
    width = x.shape[1] // heads
    values = x @ layer.values.weight.T + layer.values.bias
    maps, start = [], 0
    for size in sizes:
        maps.append(values[start : start + prod(size)].view(*size, -1))
        start += prod(size)
    tokens = [(size, voxel) for size in sizes for voxel in product(*map(range, size))]
    results = []
    for number, (own, voxel) in enumerate(tokens):
        offsets = layer.offsets.weight @ query[number] + layer.offsets.bias
        scores = layer.weights.weight @ query[number] + layer.weights.bias
        joined = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            of_head = scores[head * levels * points : (head + 1) * levels * points]
            shares = of_head.exp() / of_head.exp().sum()
            total = torch.zeros(width, dtype=x.dtype)
            for level, point in product(range(levels), range(points)):
                index = (head * levels + level) * points + point
                moved = offsets[3 * index : 3 * index + 3].tolist()
                size = sizes[level]
                place = [(i + 0.5) / n for i, n in zip(voxel, own, strict=True)]
                if layer.order == OWN_ORDER:
                    x_, y_, z_ = (
                        place[axis] + moved[component] / size[axis]
                        for component, axis in enumerate((2, 1, 0))
                    )
                else:  # depth goes along x, width along y, height along z
                    x_ = place[0] + moved[0] / size[0]
                    y_ = place[2] + moved[1] / size[2]
                    z_ = place[1] + moved[2] / size[1]
                at = [c * n - 0.5 for c, n in zip((z_, y_, x_), size, strict=True)]
                total += shares[level * points + point] * trilinear(maps[level][..., part], at)
            joined.append(total)
        results.append(layer.output.weight @ torch.cat(joined) + layer.output.bias)
    return torch.stack(results)


def small_attention(order: tuple[int, ...], seed: int = 0) -> DeformableAttention:
    torch.manual_seed(seed)
    layer = DeformableAttention(6, 2, 2, 3, order).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def places(order: tuple[int, ...]) -> Tensor:
    return torch.cat([centres(size, order, CPU) for size in SIZES]).double()


@pytest.mark.parametrize("order", ORDERS)
def test_deformable_attention_does_what_its_description_says(order: tuple[int, ...]) -> None:
    layer = small_attention(order).requires_grad_(False)
    tokens = sum(prod(size) for size in SIZES)
    query, x = (torch.randn(2, tokens, 6, dtype=torch.float64) for _ in range(2))
    expected = slow_attention(layer, query[1], x[1], SIZES)
    attended = layer(query, x, places(order), SIZES)[1]
    assert torch.allclose(attended, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_gradients_are_those_of_the_function(order: tuple[int, ...]) -> None:
    layer = small_attention(order, seed=1)
    tokens = sum(prod(size) for size in SIZES)
    query, x = (
        torch.randn(1, tokens, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    at = places(order)
    assert torch.autograd.gradcheck(lambda q, v: layer(q, v, at, SIZES), (query, x))
    weight, bias = layer.offsets.weight, layer.offsets.bias

    def of_offsets(weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"offsets.weight": weight, "offsets.bias": bias}
        return torch.func.functional_call(layer, parameters, (query[:, :], x, at, SIZES))

    assert torch.autograd.gradcheck(of_offsets, (weight, bias))


def plain_reader(order: tuple[int, ...]) -> DeformableAttention:
    """Attention that returns what it reads, with no offsets, from the first level only."""
    layer = DeformableAttention(4, 2, 1, 1, order).double().requires_grad_(False)
    for linear in (layer.values, layer.output):
        linear.weight.copy_(torch.eye(4))
        linear.bias.zero_()
    layer.offsets.bias.zero_()
    return layer


def test_without_offsets_a_token_reads_its_own_voxel() -> None:
    x = torch.randn(1, 24, 4, dtype=torch.float64)
    at = centres((4, 3, 2), OWN_ORDER, CPU)
    read = plain_reader(OWN_ORDER)(x, x, at, [(4, 3, 2)])
    assert torch.allclose(read, x, atol=1e-5)


def test_with_exchanged_axes_it_reads_another_voxel_of_cubes_too() -> None:
    x = torch.randn(1, 27, 4, dtype=torch.float64)
    read = plain_reader(EXCHANGED_ORDER)(
        x, x, centres((3, 3, 3), EXCHANGED_ORDER, CPU), [(3, 3, 3)]
    )
    cube, own = read.view(3, 3, 3, 4), x.view(3, 3, 3, 4)
    for d, h, w in product(range(3), repeat=3):
        assert torch.allclose(cube[d, h, w], own[h, w, d], atol=1e-5)


def test_the_two_orders_are_different_networks() -> None:
    torch.manual_seed(0)
    own, exchanged = CoTr(1, 2).eval(), CoTr(1, 2, exchanged_axes=True).eval()
    exchanged.load_state_dict(own.state_dict())
    image = torch.randn(1, 1, 16, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(own(image), exchanged(image), atol=1e-3)


@pytest.mark.parametrize("exchanged", [False, True])
def test_levels_are_tokens_finer_first_and_only_queries_have_positions(exchanged: bool) -> None:
    order = EXCHANGED_ORDER if exchanged else OWN_ORDER
    torch.manual_seed(0)
    transformer: Any = Transformer(order).eval()
    levels = [torch.randn(1, 384, *size) for size in SIZES]
    with torch.no_grad():
        tokens = [level[0].view(384, -1).T for level in levels]
        codes = [
            position_code(size, 128, CPU) + transformer.level_vectors[number]
            for number, size in enumerate(SIZES)
        ]
        x, position = torch.cat(tokens)[None], torch.cat(codes)
        at = torch.cat([centres(size, order, CPU) for size in SIZES])
        for layer in transformer.layers:
            attended = layer.attention(x + position, x, at, SIZES)
            x = nn.functional.layer_norm(x + attended, (384,))
            wide = nn.functional.gelu(x @ layer.linear1.weight.T + layer.linear1.bias)
            narrow = wide @ layer.linear2.weight.T + layer.linear2.bias
            x = nn.functional.layer_norm(x + narrow, (384,))
        for level, expected in zip(transformer(levels), x[0].split([24, 4]), strict=True):
            assert torch.allclose(level[0].view(384, -1).T, expected, atol=1e-4)


def test_dropout_is_at_three_places_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = DeformableAttention(6, 2, 2, 3, OWN_ORDER)
    layer = TransformerLayer(attention, 8, 0.1)
    seen: list[tuple[int, ...]] = []
    layer.dropout.register_forward_hook(lambda _, __, result: seen.append(tuple(result.shape)))
    x = torch.randn(1, 28, 6)
    layer(x, torch.zeros(28, 6), places(OWN_ORDER).float(), SIZES)
    assert seen == [(1, 28, 6), (1, 28, 8), (1, 28, 6)]
    assert layer.dropout.p == 0.1


def test_initial_weights_are_as_described() -> None:
    torch.manual_seed(0)
    network: Any = CoTr(1, 2)
    attention = network.transformer.layers[0].attention
    assert attention.shape == (6, 2, 4)
    assert (attention.offsets.weight == 0).all()
    assert (attention.weights.weight == 0).all()
    assert (attention.weights.bias == 0).all()
    offsets = attention.offsets.bias.view(6, 2, 4, 3)
    for head, level, point in product(range(6), range(2), range(4)):
        t = 2 * pi * head / 6
        direction = torch.tensor([cos(t), sin(t) * cos(t), sin(t) ** 2])
        expected = direction / direction.abs().max() * (point + 1)
        assert torch.allclose(offsets[head, level, point], expected, atol=1e-6)
    limit = (6 / (384 + 384)) ** 0.5
    for linear in (attention.values, attention.output):
        assert 0.99 * limit < linear.weight.abs().max() <= limit
        assert (linear.bias == 0).all()
    layer = network.transformer.layers[5]
    assert layer.dropout.p == 0.1
    limit = (6 / (384 + 1536)) ** 0.5
    for linear in (layer.linear1, layer.linear2):
        assert 0.99 * limit < linear.weight.abs().max() <= limit
        assert (linear.bias != 0).any()
    assert network.transformer.level_vectors.std().item() == pytest.approx(1, abs=0.1)
    convolution = network.encoder.levels[1][1].conv
    assert convolution.weight.std().item() == pytest.approx((2 / (384 * 27)) ** 0.5, rel=0.02)
    transposed = network.decoder.upsampling[1]
    assert transposed.weight.std().item() == pytest.approx((2 / (384 * 8)) ** 0.5, rel=0.02)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def test_blocks_do_what_their_description_says() -> None:
    torch.manual_seed(0)
    conv, norm = nn.functional.conv3d, nn.functional.instance_norm
    x = torch.randn(1, 4, 4, 6, 8)
    blocks: list[tuple[Any, int]] = [(Block(4, 4, 1), 1), (Block(4, 6, 2), 2)]
    for block, stride in blocks:
        skip = x if stride == 1 else norm(conv(x, block.skip[0].weight, stride=2))
        expected = leaky(norm(conv(x, block.conv.weight, stride=stride, padding=1)) + skip)
        assert torch.allclose(block(x), expected, atol=1e-5)
    double: Any = DecoderBlock(4)
    first = leaky(norm(conv(x, double.layers[0].weight, padding=1)))
    expected = leaky(norm(conv(first, double.layers[3].weight, padding=1))) + x
    assert torch.allclose(double(x), expected, atol=1e-5)


def test_the_decoder_adds_levels_and_upsamples_y_and_x_last() -> None:
    torch.manual_seed(0)
    network: Any = CoTr(1, 2, deep_supervision=True).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    decoder = network.decoder
    with torch.no_grad():
        levels = network.encoder(image)
        stem = network.encoder.stem
        first = nn.functional.conv3d(image, stem[0].weight, stride=(1, 2, 2), padding=3)
        assert torch.allclose(levels[0], leaky(nn.functional.instance_norm(first)), atol=1e-5)
        assert [tuple(level.shape[1:]) for level in levels] == [
            *((64, 16, 8, 8), (192, 8, 4, 4), (384, 4, 2, 2), (384, 2, 1, 1)),
        ]
        fine, coarse = network.transformer(levels[2:])
        expected, x = [], coarse
        for number, skip in enumerate((fine, levels[1], levels[0])):
            weight = decoder.upsampling[number].weight
            x = decoder.blocks[number](nn.functional.conv_transpose3d(x, weight, stride=2) + skip)
            expected.append(decoder.heads[3 - number](x))
        x = nn.functional.interpolate(x, (16, 16, 16), mode="trilinear", align_corners=False)
        expected.append(decoder.heads[0](x))
        for ours, theirs in zip(network(image), expected[::-1], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_half_precision_of_autocast_is_taken() -> None:
    torch.manual_seed(0)
    network, image = CoTr(1, 2).eval(), torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(image).isfinite().all()


def test_blocks_and_layers_can_be_calculated_twice() -> None:
    torch.manual_seed(0)
    network, image = CoTr(1, 2).eval(), torch.randn(1, 1, 16, 16, 16)
    assert len(list(network.checkpointed_blocks())) == 8 + 6 + 3
    before = network(image)
    checkpoint_activations(network)
    assert torch.equal(network(image), before)


@pytest.mark.parametrize(
    ("arguments", "patch_size", "message"),
    [
        ({}, (12, 16, 32), r"not a multiple of \[8, 16, 16\].*takes: \[16, 16, 32\]"),
        ({}, (8, 16, 16), r"one voxel.*takes: \[16, 16, 16\]"),
        ({}, (32, 32), "CoTr is for images of 3"),
        ({"exchanged_axes": "no"}, (16, 16, 16), "exchanged_axes is 'no': true"),
        ({"axes": 1}, (16, 16, 16), "unexpected keyword argument 'axes'"),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: dict[str, Any], patch_size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(configuration(NAME, arguments, patch_size), 1, 2)
