"""Steps that the device leaves out by itself are those that the host would leave out."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from resenc_plans.training.conditional_steps import can_decide, step_if
from tests.gpu import DEVICES

GOOD = [True, True, False, True, False, False, True, True]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.Conv3d(4, 2, 1)
    return nn.Sequential(*layers).to(
        memory_format=torch.channels_last_3d  # type: ignore[call-overload]
    )


OPTIMIZERS: dict[str, Any] = {
    "nnU-Net's": (torch.optim.SGD, {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}),
    "no Nesterov": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "no decay": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "plain": (torch.optim.SGD, {"weight_decay": 0.1}),
    "fused SGD": (torch.optim.SGD, {"momentum": 0.99, "nesterov": True, "fused": True}),
    "fused AdamW": (torch.optim.AdamW, {"fused": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_the_device_decides_on_has_the_bits_of_one_that_the_host_decides_on(
    device: str, name: str
) -> None:
    kind, options = OPTIMIZERS[name]
    states, decided = [], 0
    for on_device in (False, True):
        trained = network().to(device)
        optimizer = kind(trained.parameters(), lr=0.01, **options)
        random = torch.Generator().manual_seed(1)
        for number, is_good in enumerate(GOOD):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + number)
            for weight in trained.parameters():
                weight.grad = torch.randn(weight.shape, generator=random).to(device)
                if not is_good:
                    weight.grad.view(-1)[::2] = float("inf") if number % 2 else float("nan")
            if on_device and can_decide(optimizer):
                step_if(optimizer, torch.tensor(is_good, device=device))
                decided += 1
            elif is_good:
                optimizer.step()
        momenta = [
            value
            for state in optimizer.state.values()
            for value in state.values()
            if value is not None
        ]
        states.append(deepcopy([*trained.parameters(), *momenta]))
    assert decided >= len(GOOD) - 1
    assert all(torch.equal(host, device) for host, device in zip(*states, strict=True))


def test_other_optimizers_are_left_to_the_host() -> None:
    trained = network()
    others: list[torch.optim.Optimizer] = [
        torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9, dampening=0.1),
        torch.optim.SGD(trained.parameters(), lr=torch.tensor(0.1)),
        torch.optim.AdamW(trained.parameters()),
        torch.optim.SGD(trained.parameters(), lr=0.1),
        torch.optim.SGD(trained.parameters(), lr=0.1),
    ]
    others[3].register_step_post_hook(lambda *_: None)
    torch.optim.lr_scheduler.LinearLR(others[4])  # which wraps the method
    trained(torch.randn(1, 2, 5, 5, 5)).sum().backward()
    for optimizer in others:
        optimizer.step()
        assert not can_decide(optimizer)
    half = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    half.grad = torch.ones_like(half)
    assert not can_decide(torch.optim.SGD([half], lr=0.1))
