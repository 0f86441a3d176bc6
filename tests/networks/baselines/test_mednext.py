"""MedNeXt against published counts, against MONAI's size S, and against slow loops in float64."""

from collections.abc import Callable, Iterable
from itertools import product
from math import erf, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.baselines.mednext import Block, DownBlock, MedNeXt, UpBlock
from resenc_plans.networks.build import build_network
from tests.networks.configurations import configuration, output_shapes

NAME = "resenc_plans.networks.baselines.mednext.MedNeXt"

COUNTS = {
    ("S", 3): 5_564_807,
    ("S", 5): 5_994_439,
    ("B", 3): 10_540_199,
    ("B", 5): 10_969_831,
    ("M", 3): 17_562_855,
    ("M", 5): 18_274_727,
    ("L", 3): 61_793_159,
    ("L", 5): 63_006_791,
}
"""Parameters with one channel and 14 classes, the one for checkpointing among them."""


@pytest.mark.parametrize(("variant", "kernel_size"), COUNTS)
def test_sizes_are_the_published_ones(variant: str, kernel_size: int) -> None:
    arguments = {"variant": variant, "kernel_size": kernel_size}
    config = configuration(NAME, arguments, (128, 128, 128))
    with torch.device("meta"):
        network = build_network(config, 1, 14)
    assert sum(p.numel() for p in network.parameters()) == COUNTS[variant, kernel_size]


def test_without_deep_supervision_there_is_one_head() -> None:
    config = configuration(NAME, {"variant": "S"}, (32, 16, 16))
    network = build_network(config, 1, 14, deep_supervision=False)
    assert sum(p.numel() for p in network.parameters()) == 5_551_311
    assert network(torch.zeros(1, 1, 32, 16, 16)).shape == (1, 14, 32, 16, 16)


def test_there_are_five_outputs_and_training_knows_their_sizes() -> None:
    config = configuration(NAME, {"strides": [1, 2, 2, 2, 2, 1]}, (32, 16, 16))
    logits = build_network(config, 2, 3)(torch.zeros(2, 2, 32, 16, 16))
    assert [y.shape for y in logits] == output_shapes(config, 2, 3)
    assert len(logits) == 5


def test_parameters_carry_the_names_of_the_published_weights() -> None:
    names = list(MedNeXt(1, 2, deep_supervision=True).state_dict())
    for name in (
        *("stem.weight", "enc_block_0.0.conv1.weight", "enc_block_3.1.norm.bias"),
        *("down_0.conv2.weight", "down_3.res_conv.bias", "bottleneck.1.conv3.weight"),
        *("up_0.res_conv.weight", "dec_block_3.0.conv1.bias", "out_4.conv_out.weight"),
        "dummy_tensor",
    ):
        assert name in names
    network = MedNeXt(1, 2)
    network.load_state_dict(network.state_dict() | {"dummy_tensor": torch.tensor(3.0)})
    assert network.dummy_tensor.tolist() == [3.0]


@pytest.mark.slow
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_size_s_is_monais_bit_for_bit(kernel_size: int) -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="without the extra monai")
    theirs = nets.MedNeXtS(
        spatial_dims=3,
        in_channels=2,
        out_channels=3,
        kernel_size=kernel_size,
        deep_supervision=True,
    )
    mine = MedNeXt(2, 3, "S", kernel_size, deep_supervision=True)
    weights = {_authors_name(name): weight for name, weight in theirs.state_dict().items()}
    mine.load_state_dict({"dummy_tensor": torch.ones(1)} | weights)
    image = torch.randn(1, 2, 32, 16, 16)
    for ours, others in zip(mine(image), theirs.train()(image), strict=True):
        assert torch.equal(ours, others)


def _authors_name(monai: str) -> str:
    """MONAI counts what goes up from the lowest resolution, the authors from the highest."""
    names = {
        "enc_stages": ("enc_block", 0, 1),
        "down_blocks": ("down", 0, 1),
        "up_blocks": ("up", 3, -1),
        "dec_stages": ("dec_block", 3, -1),
        "out_blocks": ("out", 4, -1),
    }
    head, _, rest = monai.partition(".")
    if head not in names:
        return monai
    number, _, inner = rest.partition(".")
    name, first, step = names[head]
    return f"{name}_{first + step * int(number)}.{inner}"


def _all_channels(voxel: Iterable[int]) -> tuple[Any, ...]:
    return (slice(None), *voxel)


def _slow_block(block: Block, x: Tensor, stride: int, transposed: bool) -> Tensor:
    """The block on a sample of shape (channels, z, y, x), voxel by voxel, as it is described."""
    channels, size = len(x), x.shape[1:]
    kernel = block.conv1.weight
    assert isinstance(kernel, Tensor)
    k, half = kernel.shape[-1], kernel.shape[-1] // 2

    def tap(offset: tuple[int, ...]) -> Tensor:
        return kernel[_all_channels((0, *offset))]

    if transposed:
        large = [2 * n - 1 for n in size]
        first = torch.zeros(channels, *large, dtype=x.dtype)
        for at in product(*map(range, size)):
            for offset in product(range(k), repeat=3):
                to = [2 * i + o - half for i, o in zip(at, offset, strict=True)]
                if all(0 <= i < n for i, n in zip(to, large, strict=True)):
                    first[_all_channels(to)] += x[_all_channels(at)] * tap(offset)
    else:
        small = [-(-n // stride) for n in size]
        first = torch.zeros(channels, *small, dtype=x.dtype)
        for at in product(*map(range, small)):
            for offset in product(range(k), repeat=3):
                of = [stride * i + o - half for i, o in zip(at, offset, strict=True)]
                if all(0 <= i < n for i, n in zip(of, size, strict=True)):
                    first[_all_channels(at)] += x[_all_channels(of)] * tap(offset)
    first = first + block.conv1.bias.view(-1, 1, 1, 1)  # type: ignore[operator]
    for channel in range(channels):
        values = first[channel]
        deviation = sqrt(float(values.var(correction=0)) + 1e-5)
        scale, shift = block.norm.weight[channel], block.norm.bias[channel]
        first[channel] = (values - values.mean()) / deviation * scale + shift

    def pointwise(weight: Tensor, bias: Tensor, maps: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        result = torch.stack([(row.view(-1, 1, 1, 1) * maps).sum(0) for row in matrix])
        return result + bias.view(-1, 1, 1, 1)

    wide = pointwise(block.conv2.weight, block.conv2.bias, first)  # type: ignore[arg-type]
    wide = wide.clone().apply_(lambda v: v * (1 + erf(v / sqrt(2))) / 2)
    narrow = pointwise(block.conv3.weight, block.conv3.bias, wide)  # type: ignore[arg-type]
    if isinstance(block, DownBlock):
        skip = pointwise(
            block.res_conv.weight,
            block.res_conv.bias,  # type: ignore[arg-type]
            x[:, ::2, ::2, ::2],
        )
    elif isinstance(block, UpBlock):
        spread = torch.zeros(channels, *(2 * n - 1 for n in size), dtype=x.dtype)
        spread[:, ::2, ::2, ::2] = x
        weight = block.res_conv.weight.transpose(0, 1)
        skip = pointwise(weight, block.res_conv.bias, spread)  # type: ignore[arg-type]
    else:
        skip = x
    if not transposed:
        return narrow + skip
    result = torch.zeros(len(narrow), *(2 * n for n in size), dtype=x.dtype)
    result[:, 1:, 1:, 1:] = narrow + skip
    return result


BLOCKS: dict[str, tuple[Callable[..., Block], int, int, bool]] = {
    "block": (Block, 4, 1, False),
    "down": (DownBlock, 8, 2, False),
    "up": (UpBlock, 2, 2, True),
}


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_do_what_their_description_says(kind: str, kernel_size: int) -> None:
    make, outputs, stride, transposed = BLOCKS[kind]
    torch.manual_seed(0)
    block = make(4, outputs, 3, kernel_size).double()
    torch.nn.init.normal_(block.norm.weight)
    x = torch.randn(1, 4, 4, 2, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(block(x)[0], _slow_block(block, x[0], stride, transposed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", BLOCKS)
def test_gradients_are_those_of_the_function(kind: str) -> None:
    make, outputs, _, _ = BLOCKS[kind]
    torch.manual_seed(0)
    block = make(4, outputs, 2, 3).double()
    x = torch.randn(1, 4, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_larger_kernels_start_from_smaller_ones() -> None:
    small, large = MedNeXt(1, 2, kernel_size=3), MedNeXt(1, 2, kernel_size=5)
    weights = large.adapted(small.state_dict())
    large.load_state_dict(weights)
    assert torch.equal(weights["stem.weight"], small.state_dict()["stem.weight"])
    kernel = small.state_dict()["enc_block_0.0.conv1.weight"]
    expected = torch.nn.functional.interpolate(kernel, (5, 5, 5), mode="trilinear")
    assert torch.equal(weights["enc_block_0.0.conv1.weight"], expected)


@pytest.mark.slow
def test_each_block_change_of_resolution_and_head_can_be_calculated_twice() -> None:
    network = MedNeXt(1, 2, deep_supervision=True)
    assert len(list(network.checkpointed_blocks())) == 18 + 8 + 5
    image = torch.randn(1, 1, 16, 16, 32)
    before = [y.detach() for y in network(image)]
    checkpoint_activations(network)
    assert all(map(torch.equal, before, network(image)))


@pytest.mark.parametrize(
    ("arguments", "patch_size", "message"),
    [
        ({"variant": "XL"}, (32, 32, 32), "variant is 'XL': MedNeXt comes as S, B, M, L"),
        ({"width": 2.5}, (32, 32, 32), "width is 2.5: a whole number from 1 on"),
        ({"kernel_size": 7}, (32, 32, 32), "kernel_size is 7"),
        ({"strides": [1, 2, 2, 2, 1, 1]}, (32, 32, 32), "strides must be 1, 2, 2, 2, 2, 1"),
        ({}, (32, 24, 32), "not a multiple of .*16"),
        ({}, (32, 32), "MedNeXt is for images of 3"),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: dict[str, Any], patch_size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_network(configuration(NAME, arguments, patch_size), 1, 2)
