from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from resenc_plans.networks.baselines.stunet import STUNet
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.profiling.trace import trace_cost, trace_network
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.losses import DiceCrossEntropy
from tests.cost.nnunet_losses import NnunetLoss
from tests.networks.configurations import plain, residual

pytestmark = pytest.mark.slow

GIB = 2**30
LOSS = DiceCrossEntropy(batch_dice=False)


class NeedsValues(nn.Module):
    """A network that reads a value of a tensor when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.linspace(0, 1, 3)[1].item()
        self.first = nn.Conv2d(1, 4, 1)
        self.second = self.first
        self.register_buffer("scale", torch.ones(4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x) * self.scale * self.rate


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("make", [plain, residual])
def test_the_trace_counts_what_real_tensors_take(
    make: Callable[[], ResolvedConfiguration], regions: bool
) -> None:
    config = make()
    loss = default_loss(config, TrainingSettings(), regions=regions)
    arguments = (lambda: build_network(config, 2, 3), (2, 2, 16, 16, 16), 3, loss)
    traced, real = (
        trace_network(*arguments, regions=regions, half_precision=False, real=flag)
        for flag in (False, True)
    )
    assert traced == real


@pytest.mark.slow
def test_the_trace_of_stunet_counts_what_real_tensors_take() -> None:
    def build() -> nn.Module:
        return STUNet(1, 2, "S", deep_supervision=True)

    traced, real = (
        trace_network(build, (1, 1, 32, 32, 64), 2, LOSS, half_precision=False, real=flag)
        for flag in (False, True)
    )
    assert traced == real


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planner", "activations", "peak", "teraflops"),
    [
        ("ExperimentPlanner__8", 3.43, 4.69, 5.72),
        ("nnUNetPlannerResEncL__24", 14.06, 18.29, 29.0),
    ],
)
def test_presets_cost_what_the_study_found(
    shared: Path, planner: str, activations: float, peak: float, teraflops: float
) -> None:
    plan = Plans.load(shared / f"oracle/planning/KiTS__{planner}.json")
    cost = trace_cost(plan.resolve("3d_fullres"), 1, 4, loss=NnunetLoss())
    assert cost.activation_bytes / GIB == pytest.approx(activations, rel=5e-3)
    assert cost.peak_bytes / GIB == pytest.approx(peak, rel=5e-3)
    assert cost.flops / 1e12 == pytest.approx(teraflops, rel=5e-3)


def test_parameters_momentum_and_gradients_are_part_of_the_peak() -> None:
    linear = 2**16

    def build() -> nn.Module:
        return nn.Conv2d(2**8, 2**8, 1, bias=False)

    cost = trace_network(build, (1, 2**8, 2, 2), 2**8, LOSS, half_precision=False)
    assert cost.parameters == linear
    assert 4 * 4 * linear <= cost.peak_bytes < 5 * 4 * linear


def test_convolutions_count_two_operations_per_multiply_add() -> None:
    cost = trace_network(lambda: nn.Conv2d(3, 5, 1, bias=False), (2, 3, 8, 8), 5, LOSS)
    forward = 2 * 3 * 5 * 2 * 64
    assert cost.flops == 2 * forward


def test_half_precision_needs_less() -> None:
    config = residual()
    half, single = (
        trace_network(
            lambda: build_network(config, 1, 2), (2, 1, 16, 16, 16), 2, LOSS, half_precision=flag
        )
        for flag in (True, False)
    )
    assert half.activation_bytes < single.activation_bytes
    assert half.flops == single.flops


def test_a_network_that_needs_values_is_traced_too() -> None:
    cost = trace_network(NeedsValues, (2, 1, 8, 8), 4, LOSS)
    assert cost.parameters == 8
