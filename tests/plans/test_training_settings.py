import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import FileError, UsageError
from resenc_plans.plans.training_settings import (
    SGD,
    AdamW,
    CosineSchedule,
    PolynomialSchedule,
    TrainingSettings,
)

DOCS = Path(__file__).parent.parent.parent / "docs" / "training.md"


def test_the_documentation_lists_every_setting_with_its_value_and_meaning() -> None:
    documented = DOCS.read_text(encoding="utf-8").splitlines()
    for name, field in TrainingSettings.model_fields.items():
        default = json.dumps(field.default, default=lambda part: part.model_dump())
        assert f"| `{name}` | {default} | {field.description} |" in documented


def test_a_setting_that_is_misspelt_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"epoch": 3, "colour": 1, "learning_rate": -2}')
    with pytest.raises(FileError) as caught:
        TrainingSettings.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not training settings: learning_rate must be ")
    assert message.endswith("epoch is unknown (did you mean epochs?); colour is unknown.")


def test_earlier_settings_files_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"momentum": 0.9, "weight_decay": 0, "poly_exponent": 2, "epochs": 5}')
    settings = TrainingSettings.load(path)
    assert settings.optimizer == SGD(momentum=0.9, weight_decay=0)
    assert settings.schedule == PolynomialSchedule(exponent=2)
    path.write_text('{"momentum": 0.9, "optimizer": {"name": "AdamW"}}')
    with pytest.raises(FileError, match=r"momentum is now optimizer\.momentum"):
        TrainingSettings.load(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"epochs": 3, "schedule": {"name": "cosine", "warmup_epochs": 3}}', "only 3 epochs"),
        ('{"schedule": {"name": "cosine", "floor": 1}}', "floor is above learning_rate"),
        ('{"deep_supervision": false, "scale_weights": [1]}', "deep_supervision is false"),
        ('{"scale_weights": [0, 0]}', "are all 0"),
        ('{"optimizer": {"name": "Adamm"}}', "'SGD', 'Adam', 'AdamW', 'Adan'"),
        ('{"optimizer": {"name": "AdamW", "momentum": 0.9}}', "optimizer.momentum is unknown"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, document: str, message: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(document)
    with pytest.raises(FileError, match=message):
        TrainingSettings.load(path)


def test_what_a_caller_names_goes_before_what_plans_name() -> None:
    planned = TrainingSettings(epochs=9, optimizer=AdamW(eps=1e-4))
    merged = TrainingSettings(epochs=5).over(planned)
    assert (merged.epochs, merged.optimizer, merged.iterations) == (5, AdamW(eps=1e-4), 250)
    assert TrainingSettings(epochs=5).over(None) == TrainingSettings(epochs=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 10**23),
        ("seed", 2**32),
        ("workers", 100_000),
        ("epochs", 10**30),
        ("iterations", 10**400),
        ("learning_rate", float("inf")),
        ("max_minutes", 1e300),
    ],
)
def test_settings_that_no_machine_can_follow_are_refused(
    tmp_path: Path, name: str, value: float
) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({name: value}))
    with pytest.raises(FileError, match=name):
        TrainingSettings.load(tmp_path / "settings.json")


def test_another_trainer_replaces_what_the_plans_trainer_says_and_no_more() -> None:
    other = TrainingSettings(trainer="nnUNetTrainerNoDeepSupervision")
    plain = TrainingSettings(trainer="nnUNetTrainer_5epochs")
    assert other.over(plain).epochs == 1000
    explicit = TrainingSettings(trainer="nnUNetTrainer_5epochs", epochs=7)
    merged = other.over(explicit)
    assert (merged.epochs, merged.trainer) == (7, other.trainer)


def test_settings_that_contradict_those_of_the_plans_are_refused_in_words() -> None:
    planned = TrainingSettings(schedule=CosineSchedule(warmup_epochs=10))
    with pytest.raises(UsageError, match=r"only 5 epochs\. Change one of them"):
        TrainingSettings(epochs=5).over(planned)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "TrainingSettings: epochs must be at least 1, not 0."),
        ({"epochs": "many"}, "TrainingSettings: epochs must be an integer, not 'many'."),
        ({"epoch": 1}, "TrainingSettings: epoch is unknown (did you mean epochs?)."),
        (
            {"optimizer": {"name": "SGD", "momentum": 1}, "precision": "fp8"},
            "TrainingSettings: optimizer.momentum must be less than 1.0, not 1; "
            "precision must be 'auto', 'fp16', 'bf16' or 'fp32', not 'fp8'.",
        ),
    ],
)
def test_wrong_settings_and_copies_are_refused_in_our_words(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        TrainingSettings(**values)
    assert str(caught.value) == message
    with pytest.raises(UsageError) as caught:
        TrainingSettings(iterations=5).model_copy(update=values)
    assert str(caught.value) == message
    with pytest.raises(UsageError, match="SGD: momentum must be at least 0"):
        SGD(momentum=-1)


def test_a_copy_is_of_the_values_that_were_given() -> None:
    copy = TrainingSettings(epochs=5).model_copy(update={"iterations": 2})
    assert copy.model_fields_set == {"epochs", "iterations"}
    assert copy == TrainingSettings(epochs=5, iterations=2)
