"""What trainings took, and what is estimated where it was not measured."""

from pathlib import Path
from typing import Any

import pytest

from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_cost import COST_JSON, Session, save_cost
from resenc_plans.study.results import MethodResult
from resenc_plans.study.unattended.costs import ExpectedCost, measured_cost
from resenc_plans.study.unattended.graph import Run
from resenc_plans.study.unattended.outcomes import RunResult

GIB = 2**30
EXPECTED = ExpectedCost(
    parameters=1000, flops=2_000_000, gigabytes=9.5, seconds_per_step=0.18, is_bound=False
)


def run_with(folder: Path, seed: int, **parts: Any) -> RunResult:
    """A run whose cost.json has one session of an hour."""
    values: dict[str, Any] = {
        "begun": 0.0, "ended": 3600.0, "first_epoch": 0, "epochs_done": 1, "device": "cuda",
        "device_name": "NVIDIA A100", "ranks": 1, "torch": "2", "allocated_bytes": 6 * GIB,
        "reserved_bytes": 7 * GIB, "process_bytes": 8 * GIB, "card_bytes": None, "host_bytes": None,
        "energy_joules": 3.6e6,
    }  # fmt: skip
    model = ModelFolder(folder / f"seed_{seed}")
    model.run(0).path.mkdir(parents=True)
    save_cost(model.run(0).path / COST_JSON, [Session(**values | parts)])
    result = MethodResult(name="m", dataset="D", cases={}, labels=(1,), sources=(), model=model)
    return RunResult(Run("D", "m", seed, 0), result)


def test_hours_and_energy_are_means_and_memory_is_the_most(tmp_path: Path) -> None:
    runs = [
        run_with(tmp_path, 0),
        run_with(tmp_path, 1, ended=7200.0, process_bytes=10 * GIB, energy_joules=7.2e6),
    ]
    cost = measured_cost("D", "m", runs, EXPECTED)
    assert (cost.trainings, cost.hours, cost.energy_kwh) == (2, 1.5, 1.5)
    assert (cost.allocated_gb, cost.reserved_gb, cost.process_gb) == (6, 7, 10)
    assert cost.gigabytes == (10, True)
    assert cost.budget is not None
    assert (cost.budget.hours, cost.budget.gigabytes) == (1.5, 10)


def test_memory_that_was_not_measured_is_estimated_and_no_budget(tmp_path: Path) -> None:
    nothing = {"allocated_bytes": None, "reserved_bytes": None, "process_bytes": None}
    run = run_with(tmp_path, 0, device="cpu", energy_joules=None, **nothing)
    cost = measured_cost("D", "m", [run], EXPECTED)
    assert cost.gigabytes == (9.5, False)
    assert cost.energy_kwh is None
    assert cost.budget is not None
    assert cost.budget.gigabytes is None
    assert cost.budget.is_of_cpu


def test_without_a_run_everything_is_estimated(tmp_path: Path) -> None:
    cost = measured_cost("D", "m", [], EXPECTED)
    assert (cost.hours, cost.budget, cost.gigabytes) == (None, None, (9.5, False))
    EXPECTED.save(tmp_path / "cost.json")
    assert ExpectedCost.load(tmp_path / "cost.json") == EXPECTED
    assert ExpectedCost.load(tmp_path / "absent.json") is None
    assert EXPECTED.hours(TrainingSettings(epochs=10, iterations=2000)) == pytest.approx(1)
