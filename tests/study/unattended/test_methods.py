"""What is trained of a method, and the names that its models bear."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from resenc_plans import Plans
from resenc_plans.errors import StudyError
from resenc_plans.study.unattended.methods import plan_method, trainer_name
from resenc_plans.study.unattended.study_file import StudyMethod
from tests.plans.documents import document


def test_models_bear_the_shared_trainer_unless_the_method_has_something_of_its_own() -> None:
    plain = StudyMethod(preset="M")
    own = StudyMethod(preset="M", settings={"epochs": 3})
    assert trainer_name("mine", plain) == "nnUNetTrainer"
    assert trainer_name("mine", plain, "nnUNetTrainerDA5") == "nnUNetTrainerDA5"
    assert trainer_name("mine", own, "nnUNetTrainerDA5") == "mine"


def test_the_second_stage_of_a_cascade_is_refused(tmp_path: Path) -> None:
    second = {"inherits_from": "3d_fullres", "previous_stage": "3d_fullres"}
    Plans.from_dict(document(second=second)).save(tmp_path / "plans.json")
    method = StudyMethod(plans="plans.json", configuration="second")

    dataset = fingerprint = cast(Any, SimpleNamespace(name="Dataset900_Phantom"))
    with pytest.raises(StudyError, match=r"methods\.mine: second is the second stage of a cascade"):
        plan_method("mine", method, dataset, fingerprint, tmp_path)
