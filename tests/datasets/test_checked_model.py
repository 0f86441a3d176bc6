import pickle

import pytest

from resenc_plans import PredictionSettings, TrainingSettings
from resenc_plans.errors import PredictionError, UsageError
from resenc_plans.plans.training_settings import SGD


def test_a_model_inside_another_is_refused_with_its_place() -> None:
    with pytest.raises(
        UsageError, match=r"^TrainingSettings: optimizer\.momentum must be at least"
    ):
        TrainingSettings(optimizer={"name": "SGD", "momentum": -1})
    with pytest.raises(UsageError, match=r"^SGD: momentum must be at least"):
        SGD(momentum=-1)


def test_no_attribute_is_deleted() -> None:
    with pytest.raises(UsageError, match=r"SGD\.momentum cannot be changed"):
        del SGD().momentum


def test_a_copy_with_changes_is_checked_and_others_travel() -> None:
    with pytest.raises(PredictionError, match="`step_size=` must be greater than"):
        PredictionSettings().model_copy(update={"step_size": 0})
    settings = PredictionSettings(mirroring=False).model_copy(update={"step_size": 1})
    assert pickle.loads(pickle.dumps(settings)) == settings == settings.model_copy(deep=True)
    assert not settings.mirroring
