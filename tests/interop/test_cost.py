"""Counts of parameters and memory, against nnU-Net's own networks and losses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.cost.counts import count_parameters
from resenc_plans.cost.layers import layers_of
from resenc_plans.cost.loss_memory import LossKind
from resenc_plans.cost.training_step import simulate_training_step
from tests.cost.configurations import of_oracle, variants

SCRIPT = Path(__file__).with_name("trace_training_steps.py")


def test_networks_of_nnunet_have_the_parameters_and_the_memory_that_are_counted(
    shared: Path, peer: Callable[..., str], tmp_path: Path
) -> None:
    wanted = [
        (*of_oracle(shared, "AMOS", "ExperimentPlanner__8"), False),
        (*of_oracle(shared, "LiTS", "nnUNetPlannerResEncM__8", "2d"), False),
        (*of_oracle(shared, "BTCV", "nnUNetPlannerResEncXL__40"), False),
        (*of_oracle(shared, "BraTS", "nnUNetPlannerResEncL__24"), True),
    ]
    enlarged = {"patch_size": (64, 64, 64)}
    small = [config for config in variants().values() if config.dim == 3]
    wanted += [(config.model_copy(update=enlarged), 2, 3, False) for config in small]
    cases = tmp_path / "cases.json"
    cases.write_text(
        json.dumps(
            [
                {
                    "configuration": config.to_dict() | {"patch_size": config.patch_size},
                    "channels": channels,
                    "heads": heads,
                    "regions": regions,
                }
                for config, channels, heads, regions in wanted
            ]
        )
    )
    traced = json.loads(peer(SCRIPT, cases).splitlines()[-1])
    for (config, channels, heads, regions), theirs in zip(wanted, traced, strict=True):
        layers = layers_of(config, channels, heads)
        loss: LossKind = "binary cross-entropy" if regions else "cross-entropy"
        ours = simulate_training_step(layers, config.batch_size, loss)
        assert count_parameters(layers) == theirs["parameters"]
        within = 0.03 if config.name == "tested" else 0.001
        assert ours.peak_bytes == pytest.approx(theirs["peak_bytes"], rel=within)
        assert ours.activation_bytes == pytest.approx(theirs["activation_bytes"], rel=0.005)
