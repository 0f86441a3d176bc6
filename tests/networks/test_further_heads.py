"""Heads of lower resolutions in the weights that a network without them loads."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from resenc_plans.networks.baselines import nnformer
from resenc_plans.networks.baselines.mednext import MedNeXt
from resenc_plans.networks.baselines.nnformer import NNFormer


@pytest.fixture(params=["mednext", "nnformer"])
def networks(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """The same network with deep supervision and without, and a patch."""
    narrow = replace(nnformer.VARIANTS["synapse"], embedding=24)
    monkeypatch.setitem(nnformer.VARIANTS, "synapse", narrow)
    kinds: dict[str, tuple[Any, dict[str, Any], tuple[int, ...]]] = {
        "mednext": (MedNeXt, {"variant": "S", "width": 2}, (32, 16, 16)),
        "nnformer": (
            NNFormer,
            {"variant": "synapse", "patch_size": (16, 32, 32)},
            (16, 32, 32),
        ),
    }
    kind, arguments, patch = kinds[request.param]
    supervised, plain = (
        kind(1, 3, **arguments, deep_supervision=supervision) for supervision in (True, False)
    )
    return supervised, plain, patch


def test_weights_with_further_heads_give_the_first_output(
    networks: tuple[nn.Module, nn.Module, tuple[int, ...]],
) -> None:
    supervised, plain, patch = networks
    weights = supervised.state_dict()
    names = [*weights]
    assert len(names) > len(plain.state_dict())
    plain.load_state_dict(weights)
    assert [*weights] == names
    image = torch.randn(1, 1, *patch)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(image), supervised.eval()(image)[0])


def test_other_weights_that_do_not_fit_are_refused(
    networks: tuple[nn.Module, nn.Module, tuple[int, ...]],
) -> None:
    supervised, plain, _ = networks
    with pytest.raises(RuntimeError, match="Unexpected key"):
        plain.load_state_dict(plain.state_dict() | {"other.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="Missing key"):
        supervised.load_state_dict(plain.state_dict())
