import json
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.plans.training_settings import TrainingSettings

DOCS = Path(__file__).parent.parent.parent / "docs" / "training.md"


def test_the_documentation_lists_every_setting_with_its_value_and_meaning() -> None:
    documented = DOCS.read_text(encoding="utf-8").splitlines()
    for name, field in TrainingSettings.model_fields.items():
        assert f"| `{name}` | {json.dumps(field.default)} | {field.description} |" in documented


def test_a_setting_that_is_misspelt_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"epoch": 3, "colour": 1, "momentum": 2}')
    with pytest.raises(FileError) as caught:
        TrainingSettings.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not training settings: momentum: ")
    assert message.endswith("epoch is unknown, did you mean epochs?; colour is unknown.")
