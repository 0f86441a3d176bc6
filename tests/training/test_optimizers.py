"""Optimizers of the caller's choice, and what of them a resumed run takes from its checkpoint."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import TrainingError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import (
    SGD,
    AdamW,
    Adan,
    CosineSchedule,
    TrainingSettings,
)
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.training.step import default_optimizer
from resenc_plans.training.trainer import Trainer
from tests.training.resuming import assert_resumes_bit_for_bit

pytestmark = pytest.mark.slow

SHORT = TrainingSettings(
    epochs=2, iterations=2, validation_iterations=1, workers=0, precision="fp32"
)
ADAM = partial(torch.optim.AdamW, weight_decay=0.01)


def test_another_optimizer_trains_at_the_rates_of_the_schedule_and_resumes(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    result = Trainer(config, dataset, 0, SHORT, optimizer=ADAM, name="Adam").fit()
    assert [epoch.learning_rate for epoch in result.epochs] == [0.01, 0.01 * 0.5**0.9]
    state = load_checkpoint(result.checkpoint).optimizer_state
    assert state is not None
    assert state["param_groups"][0]["weight_decay"] == 0.01
    longer = SHORT.model_copy(update={"epochs": 3})
    again = Trainer(config, dataset, 0, longer, optimizer=ADAM, name="Adam")
    again.resume()
    assert len(again.fit().epochs) == 3


def test_a_run_does_not_resume_with_another_optimizer(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT, optimizer=ADAM, name="Adam").fit().checkpoint
    with pytest.raises(TrainingError, match=r"another optimizer, whose options are amsgrad, betas"):
        Trainer(config, dataset, 0, SHORT).resume(path)


def test_a_resumed_run_keeps_momenta_and_takes_the_options_of_its_settings(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    changed = SHORT.model_copy(update={"optimizer": SGD(weight_decay=0.5), "epochs": 3})
    again = Trainer(config, dataset, 0, changed)
    again.resume()
    state, saved = again.step.optimizer.state_dict(), load_checkpoint(path).optimizer_state
    assert saved is not None
    assert state["param_groups"][0]["weight_decay"] == 0.5
    for number, momentum in saved["state"].items():
        assert torch.equal(state["state"][number]["momentum_buffer"], momentum["momentum_buffer"])


def test_groups_of_parameters_get_the_rate_of_the_schedule(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    def two_groups(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        first, *others = parameters
        return torch.optim.SGD([{"params": [first]}, {"params": others}], lr=1)

    trainer = Trainer(config, dataset, 0, SHORT, optimizer=two_groups, name="Groups")
    trainer.fit()
    assert {group["lr"] for group in trainer.step.optimizer.param_groups} == {0.01 * 0.5**0.9}


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9, nesterov=False), AdamW(eps=1e-4)])
def test_a_run_that_was_stopped_ends_with_the_weights_of_an_undisturbed_one(
    config: ResolvedConfiguration, dataset: Dataset, optimizer: SGD | AdamW, tmp_path: Path
) -> None:
    settings = SHORT.model_copy(
        update={
            "optimizer": optimizer,
            "learning_rate": 1e-3,
            "schedule": CosineSchedule(warmup_epochs=1, warmup_start=0.1),
            "gradient_clip": None,
        }
    )
    assert_resumes_bit_for_bit(config, dataset, settings, tmp_path)


def test_plans_name_the_settings_that_a_caller_leaves_out(
    preprocessed: Path, dataset: Dataset
) -> None:
    plan = Plans.load(preprocessed / "nnUNetResEncUNetMPlans.json")
    planned = {"learning_rate": 1e-3, "optimizer": {"name": "AdamW", "eps": 1e-4}, "iterations": 9}
    plan.derive("adam", from_="tiny", training=planned)
    plan.save(preprocessed / "nnUNetResEncUNetMPlans.json")
    trainer = Trainer(plan.resolve("adam"), dataset, 0, SHORT)
    assert trainer.settings.optimizer == AdamW(eps=1e-4)
    assert trainer.settings.learning_rate == 1e-3
    assert trainer.settings.iterations == SHORT.iterations
    assert isinstance(trainer.step.optimizer, torch.optim.AdamW)
    assert trainer.record.settings["optimizer"]["name"] == "AdamW"


def test_adan_needs_its_extra(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adan_pytorch", None)
    settings = SHORT.model_copy(update={"optimizer": Adan()})
    with pytest.raises(TrainingError, match=r"resenc-plans\[adan\]"):
        Trainer(config, dataset, 0, settings)


def test_adan_is_made_as_nnunet_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    package = MagicMock()
    monkeypatch.setitem(sys.modules, "adan_pytorch", package)
    parameters = [torch.nn.Parameter(torch.ones(4))]
    default_optimizer(TrainingSettings(trainer="nnUNetTrainerAdan"))(parameters)
    package.Adan.assert_called_once_with(
        parameters, lr=0.01, betas=pytest.approx((0.02, 0.08, 0.01)), eps=1e-8, weight_decay=3e-5
    )


def test_adan_resumes_bit_for_bit(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("adan_pytorch", reason="needs the extra adan")
    settings = SHORT.model_copy(update={"optimizer": Adan(), "learning_rate": 1e-3})
    assert_resumes_bit_for_bit(config, dataset, settings, tmp_path)
