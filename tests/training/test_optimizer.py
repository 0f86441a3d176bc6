"""The optimiser does what torch's does, and reads and writes its states."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from resenc_plans.errors import ResencPlansError
from resenc_plans.training.optimizer import MomentumSGD

SETTINGS: dict[str, Any] = {"momentum": 0.99, "weight_decay": 3e-5}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2), nn.Linear(2, 2))


def step(model, optimizer, seed) -> None:
    """One step in which the last layer has no part, so its gradients stay None."""
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model[:2](torch.randn(3, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("momentum", [0.99, 0.0])
def test_steps_equal_those_of_torch(momentum: float) -> None:
    ours, theirs = network(), network()
    mine: Any = MomentumSGD(ours.parameters(), 0.01, momentum, 3e-5)
    torchs = torch.optim.SGD(
        theirs.parameters(), 0.01, momentum, weight_decay=3e-5, nesterov=momentum > 0
    )
    for seed in range(5):
        mine.learning_rate = torchs.param_groups[0]["lr"] = 0.01 / (1 + seed)
        step(ours, mine, seed)
        step(theirs, torchs, seed)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_states_go_to_torch_and_back() -> None:
    ours, theirs = network(), network()
    mine: Any = MomentumSGD(ours.parameters(), 0.01, **SETTINGS)
    step(ours, mine, 0)
    theirs.load_state_dict(ours.state_dict())
    torchs = torch.optim.SGD(theirs.parameters(), 1.0)
    torchs.load_state_dict(deepcopy(mine.state_dict()))
    step(ours, mine, 1)
    step(theirs, torchs, 1)
    back = MomentumSGD(theirs.parameters(), 1.0, **SETTINGS)
    back.load_state_dict(torchs.state_dict())
    step(ours, mine, 2)
    step(theirs, back, 2)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert set(mine.state_dict()["param_groups"][0]) <= set(torchs.state_dict()["param_groups"][0])


def test_a_gradient_scaler_steps_it_and_skips_what_overflows() -> None:
    ours, theirs = network(), network()
    mine: Any = MomentumSGD(ours.parameters(), 0.01, **SETTINGS)
    torchs = torch.optim.SGD(theirs.parameters(), 0.01, **SETTINGS, nesterov=True)
    scalers = [torch.amp.GradScaler("cpu", growth_interval=2) for _ in range(2)]
    pairs = zip((ours, theirs), (mine, torchs), scalers, strict=True)
    for model, optimizer, scaler in pairs:
        for seed in range(6):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            image = torch.randn(3, 4) * (torch.inf if seed == 3 else 1)
            scaler.scale(model(image).square().sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.isfinite(a).all()
        assert torch.equal(a, b)
    assert scalers[0].state_dict() == scalers[1].state_dict()


def test_a_state_of_another_network_is_refused() -> None:
    optimizer = MomentumSGD(network().parameters(), 0.01, **SETTINGS)
    other = nn.Sequential(nn.Linear(4, 6))
    saved = MomentumSGD(other.parameters(), 0.01, **SETTINGS)
    step(nn.Sequential(other[0], nn.Identity()), saved, 0)
    with pytest.raises(ResencPlansError, match="other parameters"):
        optimizer.load_state_dict(saved.state_dict())
