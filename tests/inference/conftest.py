"""What tests of prediction share."""

from pathlib import Path

import pytest

from resenc_plans.inference.predictor import Predictor
from tests.inference.models import CPU_IN_FP32, write_model


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return Predictor.from_folder(write_model(tmp_path / "model"), settings=CPU_IN_FP32)
