"""The booked training step, beside a trace of the network itself."""

from pathlib import Path

import pytest

from resenc_plans.cost.counts import count_flops, count_parameters
from resenc_plans.cost.layers import layers_of
from resenc_plans.cost.loss_memory import LossKind
from resenc_plans.cost.training_step import inference_peak, simulate_training_step
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.profiling.trace import trace_cost
from tests.cost.configurations import of_oracle, residual_variants_of_ours, variants
from tests.cost.nnunet_losses import NnunetLoss

VARIANTS = variants()
TRACED = {
    name: VARIANTS[name]
    for name in ("plain", "2D", "no normalisation", "strides by axis", "dropout of channels")
} | residual_variants_of_ours()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "planner", "name", "heads", "regions"),
    [
        ("ACDC", "ExperimentPlanner__8", "2d", None, False),
        ("KiTS", "nnUNetPlannerResEncL__24", "3d_fullres", None, False),
        ("KiTS", "nnUNetPlannerResEncL__24", "3d_fullres", 118, False),
        ("BraTS", "nnUNetPlannerResEncXL__40", "3d_fullres", 3, True),
    ],
)
def test_plans_of_nnunet_agree_with_the_trace(
    shared: Path, dataset: str, planner: str, name: str, heads: int | None, regions: bool
) -> None:
    config, channels, own_heads = of_oracle(shared, dataset, planner, name)
    assert_agrees(config, channels, heads or own_heads, regions, within=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("variant", TRACED)
def test_variants_agree_with_the_trace(variant: str) -> None:
    config = TRACED[variant].model_copy(update={"patch_size": (64,) * TRACED[variant].dim})
    assert_agrees(config, 2, 3, regions=False, within=0.03)


def assert_agrees(
    config: ResolvedConfiguration, channels: int, heads: int, regions: bool, within: float
) -> None:
    nnunet = NnunetLoss(regions)
    traced = trace_cost(config, channels, heads, regions=regions, loss=nnunet)
    layers = layers_of(config, channels, heads)
    loss: LossKind = "binary cross-entropy" if regions else "cross-entropy"
    step = simulate_training_step(layers, config.batch_size, loss)
    assert count_parameters(layers) == traced.parameters
    assert step.peak_bytes == pytest.approx(traced.peak_bytes, rel=within)
    assert step.activation_bytes == pytest.approx(traced.activation_bytes, rel=max(within, 0.005))
    assert count_flops(layers, config.batch_size) == pytest.approx(traced.flops, rel=0.01)


def test_a_compiled_dice_takes_less_where_there_are_many_heads(shared: Path) -> None:
    config, channels, _ = of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24")
    layers = layers_of(config, channels, 118)
    eager = simulate_training_step(layers, config.batch_size)
    fused = simulate_training_step(layers, config.batch_size, fused_dice=True)
    assert fused.peak_bytes < 0.8 * eager.peak_bytes


def test_several_gpus_hold_the_gradients_once_more() -> None:
    layers = layers_of(VARIANTS["a wider stem"], 1, 2)
    alone = simulate_training_step(layers, 2)
    among_others = simulate_training_step(layers, 2, distributed=True)
    assert among_others.peak_bytes - alone.peak_bytes == 4 * count_parameters(layers)


def test_prediction_takes_much_less_than_training(shared: Path) -> None:
    config, channels, heads = of_oracle(shared, "KiTS", "nnUNetPlannerResEncL__24")
    layers = layers_of(config, channels, heads)
    assert inference_peak(layers) < simulate_training_step(layers, 2).peak_bytes / 4
