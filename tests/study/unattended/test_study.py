"""A study from its file to a report, in processes."""

import json
from pathlib import Path

import pytest

from resenc_plans.errors import LockedError, StudyError
from resenc_plans.execution.locks import lock
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import write_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was run."""
    path = write_study(tmp_path_factory.mktemp("study"))
    ran = Study.load(path).run(device="cpu", at_once=2)
    assert ran.failed == {}
    assert ran.report
    return path


def test_a_study_is_run_from_its_file_to_a_report(done: Path) -> None:
    names = {path.name for path in (done.parent / "report").iterdir()}
    assert names == {
        "report.html", "report.md", "table.tex", "cases.csv", "results.json", "costs.json",
        "discrimination.json", "provenance.json",
    }  # fmt: skip
    results = json.loads((done.parent / "report" / "results.json").read_text())
    [dataset] = results["datasets"]
    assert [one["name"] for one in dataset["methods"]] == ["resenc-m", "original"]
    assert dataset["methods"][0]["sources"] == [
        "runs/Dataset900_Phantom/resenc-m/seed_0/fold_0/validation/summary.json"
    ]
    assert set(dataset["budgets"]) == {"resenc-m", "original"}
    assert Study.load(done).verify().is_confirmed


def test_two_runs_of_one_study_exclude_each_other(done: Path) -> None:
    with (
        lock(done.parent / ".study.lock", done.parent),
        pytest.raises(LockedError, match="has been writing to this folder since"),
    ):
        Study.load(done).run(device="cpu")


def test_all_that_cannot_be_built_is_named_before_anything_runs(tmp_path: Path) -> None:
    methods = {
        "one": {"baseline": "no-such-system"},
        "two": {"preset": "M", "network": "nowhere.Net"},
        "three": {"plans": "absent.json"},
    }
    path = write_study(tmp_path, methods=methods, folds=[0, 9])
    with pytest.raises(StudyError, match="nothing was run") as caught:
        Study.load(path).run(device="cpu")
    text = str(caught.value)
    for part in ("one on Data", "two on Data", "asks for 9"):
        assert part in text
    assert not (path.parent / "runs").exists()
