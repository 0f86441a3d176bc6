"""How far a study is, and how long it takes yet."""

import json
from pathlib import Path

import pytest

from resenc_plans.study.unattended.status import epoch_seconds
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import write_study


def test_nothing_is_known_of_a_study_before_its_plans(tmp_path: Path) -> None:
    status = Study.load(write_study(tmp_path)).status()
    assert status.count("missing") == len(status.jobs) == 3
    assert status.hours_left is None


@pytest.mark.slow
def test_the_time_left_is_that_of_epochs_so_far(finished: Path) -> None:
    assert Study.load(finished).status().hours_left == 0
    document = json.loads(finished.read_text())
    finished.write_text(json.dumps(document | {"seeds": [0, 1]}))
    status = Study.load(finished).status()
    assert (status.count("done"), status.count("missing")) == (3, 2)
    missing = [one for one in status.jobs if one.state == "missing"]
    assert all(one.is_measured and one.piece == "training" for one in missing)
    assert status.hours_left is not None
    assert 0 < status.hours_left < 0.1
    assert "3 of 5 jobs are done" in repr(status)


def test_damaged_lines_end_what_is_known_of_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert epoch_seconds(path) == []
    path.write_text('{"epoch": 0, "begun": 1, "ended": 3.5}\n{"epo')
    assert epoch_seconds(path) == [2.5]
