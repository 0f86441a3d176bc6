import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done
from tests.plans.documents import document as plans_document


def test_diff_says_what_each_difference_costs(run: Callable[..., Done], here: Path) -> None:
    content = plans_document()
    content["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.0, 1.0]
    Plans.from_dict(content).save(here / "after.json")
    done = run("diff", NAME, "after", "--format", "json")
    assert done.code == 1
    assert json.loads(done.out)["cost"] == "preprocess again"
    assert "preprocess again" in run("diff", NAME, "after.json", "--raw").out
    assert run("diff", NAME, NAME).code == 0


def test_plans_of_a_dataset_are_compared_from_anywhere(
    run: Callable[..., Done], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "--preset", "M").code == 0
    assert run("create", "--preset", "L").code == 0
    monkeypatch.chdir(tmp_path)
    done = run("diff", "nnUNetResEncUNetMPlans", "nnUNetResEncUNetLPlans", "-d", dataset)
    assert done.code == 1
    assert "plans_name" in done.out
