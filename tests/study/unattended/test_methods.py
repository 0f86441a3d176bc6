"""The names that the models of methods bear."""

from resenc_plans.study.unattended.methods import trainer_name
from resenc_plans.study.unattended.study_file import StudyMethod


def test_models_bear_the_shared_trainer_unless_the_method_has_something_of_its_own() -> None:
    plain = StudyMethod(preset="M")
    own = StudyMethod(preset="M", settings={"epochs": 3})
    assert trainer_name("mine", plain) == "nnUNetTrainer"
    assert trainer_name("mine", plain, "nnUNetTrainerDA5") == "nnUNetTrainerDA5"
    assert trainer_name("mine", own, "nnUNetTrainerDA5") == "mine"
