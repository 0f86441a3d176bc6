from collections.abc import Callable

import pytest
import torch
from torch import nn

from resenc_plans.errors import TrainingError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from tests.networks.configurations import configuration, plain, residual

pytestmark = pytest.mark.slow


def stunet() -> ResolvedConfiguration:
    strides = [1, 2, 2, 1, 1, 1]
    return configuration("STUNet", {"variant": "S", "strides": strides}, (8, 8, 8))


@pytest.mark.parametrize("make", [residual, plain, stunet])
def test_results_and_gradients_stay_and_less_is_kept(
    make: Callable[[], ResolvedConfiguration],
) -> None:
    config = make()
    kept: list[int] = []
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        network = build_network(config, 1, 2)
        names = list(network.state_dict())
        if is_checkpointed:
            checkpoint_activations(network)
        assert list(network.state_dict()) == names
        images = torch.randn(1, 1, *config.patch_size)
        count = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = sum(logits.square().sum() for logits in network(images))
        kept.append(count)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert kept[1] < 0.6 * kept[0]
    assert all(map(torch.equal, *gradients))


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(TrainingError, match="Conv3d has no method `checkpointed_blocks`"):
        checkpoint_activations(nn.Conv3d(1, 1, 1))
