from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from resenc_plans.networks.baselines.mednext import MedNeXt
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
    assert replace(traced, bytes_moved=0) == replace(real, bytes_moved=0)
    assert traced.bytes_moved == pytest.approx(real.bytes_moved, rel=0.2)


@pytest.mark.slow
def test_the_trace_of_stunet_counts_what_real_tensors_take() -> None:
    def build() -> nn.Module:
        return STUNet(1, 2, "S", deep_supervision=True)

    traced, real = (
        trace_network(build, (1, 1, 32, 32, 64), 2, LOSS, half_precision=False, real=flag)
        for flag in (False, True)
    )
    assert replace(traced, bytes_moved=0) == replace(real, bytes_moved=0)
    assert traced.bytes_moved == pytest.approx(real.bytes_moved, rel=0.2)


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


@pytest.mark.parametrize("transposed", [False, True])
def test_the_arithmetic_of_depthwise_convolutions_is_that_of_their_groups(transposed: bool) -> None:
    kind = nn.ConvTranspose3d if transposed else nn.Conv3d

    def build() -> nn.Module:
        return nn.Sequential(nn.Conv3d(1, 6, 1), kind(6, 6, 3, padding=1, groups=6))

    cost = trace_network(build, (1, 1, 4, 4, 4), 6, LOSS, half_precision=False)
    pointwise, depthwise = 2 * 6 * 4**3, 2 * 6 * 27 * 4**3
    assert cost.flops == 2 * pointwise + 3 * depthwise  # images need no gradient


@pytest.mark.parametrize("half_precision", [True, False])
def test_blocks_that_are_calculated_twice_keep_less_and_take_more_arithmetic(
    half_precision: bool,
) -> None:
    def build() -> nn.Module:
        return MedNeXt(1, 2, "S", deep_supervision=True)

    plain, twice = (
        trace_network(
            build,
            (2, 1, 32, 32, 32),
            2,
            LOSS,
            half_precision=half_precision,
            settings=TrainingSettings(activation_checkpointing=flag),
        )
        for flag in (False, True)
    )
    assert twice.activation_bytes < plain.activation_bytes / 3
    assert twice.peak_bytes < 0.8 * plain.peak_bytes
    assert 1.1 < twice.flops / plain.flops < 4 / 3
    assert 1 < twice.bytes_moved / plain.bytes_moved < 1.5
