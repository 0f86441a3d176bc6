"""Trainers of nnU-Net as settings; tests/interop/test_trainers.py compares their classes."""

import re
from pathlib import Path

import pytest

from resenc_plans.errors import UsageError
from resenc_plans.plans.nnunet_trainers import EXTERNAL, NNUNET_TRAINERS
from resenc_plans.plans.training_settings import TrainingSettings

DOCS = Path(__file__).parents[2] / "docs" / "trainers.md"


def test_a_trainer_gives_its_settings_and_what_is_given_goes_before() -> None:
    settings = TrainingSettings(trainer="nnUNetTrainerCELoss_5epochs")
    assert (settings.epochs, settings.loss.name) == (5, "cross_entropy")
    assert TrainingSettings(trainer="nnUNetTrainer_5epochs", epochs=7).epochs == 7


def test_one_trainer_replaces_another() -> None:
    plans = TrainingSettings(trainer="nnUNetTrainerDiceLoss", iterations=9)
    settings = TrainingSettings(trainer="nnUNetTrainerAdam").over(plans)
    assert (settings.loss.name, settings.optimizer.name) == ("dice_cross_entropy", "AdamW")
    assert settings.iterations == 9
    assert TrainingSettings(epochs=3).over(plans).loss.name == "dice"


def test_an_unknown_trainer_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EXTERNAL, raising=False)
    with pytest.raises(UsageError, match=r"the nearest are .*nnUNetTrainerNoMirroring") as error:
        TrainingSettings(trainer="nnUNetTrainerNoMiroring")
    assert EXTERNAL not in str(error.value)


def test_an_external_trainer_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXTERNAL, "/somewhere")
    with pytest.raises(UsageError, match=rf"folders of {EXTERNAL} are not imported"):
        TrainingSettings(trainer="MyTrainer")


def test_what_cannot_be_had_is_said_by_name() -> None:
    with pytest.raises(UsageError, match="trainer AbstractPrimus cannot be had"):
        TrainingSettings(trainer="AbstractPrimus")


def test_the_documentation_has_a_row_of_each() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    expected = [
        (name, f"{trainer.changes}{'' if trainer.unavailable is None else '; cannot be had'}")
        for name, trainer in NNUNET_TRAINERS.items()
    ]
    assert rows == expected
    assert len(rows) == 77
