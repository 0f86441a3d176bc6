"""Gradients in bfloat16 on a CPU, of 3D convolutions over few slices."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resenc_plans.networks.shallow_maps import pad_shallow_maps


def dirty_memory() -> None:
    """Large numbers where the next tensors are allocated."""
    for size in (10, 12, 14, 16, 18):
        _ = [torch.full((2**size,), 1e30) for _ in range(3)]


def gradients(network: nn.Conv3d, x: Tensor, precision: torch.dtype | None = None) -> list[Tensor]:
    """Of weights, bias and maps."""
    x = x.clone().requires_grad_()
    dirty_memory()
    with torch.autocast("cpu", precision, enabled=precision is not None):
        y = network(x)
    generator = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, generator=generator).to(y.dtype))
    assert network.weight.grad is not None
    assert network.bias is not None
    assert network.bias.grad is not None
    assert x.grad is not None
    return [network.weight.grad, network.bias.grad, x.grad]


@pytest.mark.parametrize(
    ("kernel", "slices", "options"),
    [
        (3, 2, {"padding": 1}),
        (3, 2, {"padding": "same"}),
        (3, 3, {"padding": 1, "stride": 2}),
        (3, 2, {"padding": 1, "groups": 2}),
        (5, 4, {"padding": 2}),
        (5, 2, {"padding": 2}),
        ((3, 1, 1), 2, {"padding": (1, 0, 0)}),
    ],
)
def test_gradients_of_few_slices_are_those_in_single_precision(
    kernel: int, slices: int, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network, x = nn.Conv3d(16, 16, kernel, **options), torch.randn(2, 16, slices, 4, 4)
    names = [*network.state_dict()]
    expected = gradients(deepcopy(network), x)
    for _ in range(3):
        padded = deepcopy(network)
        pad_shallow_maps(padded)
        assert [*padded.state_dict()] == names
        for mine, single in zip(gradients(padded, x, torch.bfloat16), expected, strict=True):
            assert (mine - single).abs().max() < 0.02 * single.abs().max()


def test_padding_of_other_kinds_and_maps_of_many_slices_are_left_alone() -> None:
    torch.manual_seed(0)
    for network, slices in (
        (nn.Conv3d(2, 2, 3, padding=1, padding_mode="replicate"), 2),
        (nn.Conv3d(2, 2, 3, padding=1), 6),
        (nn.Conv3d(2, 2, (1, 3, 3), padding=(0, 1, 1)), 2),
    ):
        x = torch.randn(1, 2, slices, 4, 4)
        expected = network(x)
        pad_shallow_maps(network)
        assert torch.equal(network(x), expected)
        assert torch.allclose(network(x[0]), expected[0])
