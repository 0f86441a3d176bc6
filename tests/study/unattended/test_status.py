"""How far a study is, and how long it takes yet."""

import json
from pathlib import Path

import pytest

from resenc_plans.runs.run_cost import COST_JSON, Session, save_cost
from resenc_plans.study.unattended.costs import ExpectedCost
from resenc_plans.study.unattended.status import epoch_seconds
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import NAME, write_study


def test_nothing_is_known_of_a_study_before_its_plans(tmp_path: Path) -> None:
    status = Study.load(write_study(tmp_path)).status()
    assert status.count("missing") == len(status.jobs) == 3
    assert status.hours_left is None
    assert status.time_left.startswith("unknown hours left (`study check` estimates them")


def _with_estimates(folder: Path) -> Study:
    """A study that is planned, each training estimated to take 36 s."""
    study = Study.load(write_study(folder))
    cost = ExpectedCost(parameters=1, flops=1, gigabytes=1.0, seconds_per_step=36.0, is_bound=False)
    for method in study.opened.file.methods:
        path = study.opened.places.expected_cost(NAME, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        cost.save(path)
    return study


def test_an_estimate_says_that_it_is_one_and_of_an_a100(tmp_path: Path) -> None:
    status = _with_estimates(tmp_path).status()
    assert status.time_left == "0.02 hours left (estimated, for an A100)"
    assert {one.device for one in status.jobs if one.of_epochs} == {"A100"}
    assert status.to_dict()["estimated_hours_left"] == status.hours_left == 0.02
    assert status.time_left in repr(status)


def test_many_hours_are_written_without_an_exponent(tmp_path: Path) -> None:
    study = Study.load(write_study(tmp_path))
    cost = ExpectedCost(parameters=1, flops=1, gigabytes=1.0, seconds_per_step=3e6, is_bound=False)
    for method in study.opened.file.methods:
        path = study.opened.places.expected_cost(NAME, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        cost.save(path)
    assert study.status().time_left == "1670 hours left (estimated, for an A100)"


def test_nothing_is_estimated_for_a_study_that_is_trained_on_a_cpu(tmp_path: Path) -> None:
    study = _with_estimates(tmp_path)
    training = next(piece for piece in study.opened.graph.needs if piece.kind == "training")
    folder = study.opened.places.run(training.run).path
    folder.mkdir(parents=True)
    save_cost(folder / COST_JSON, [_session("cpu", "Some CPU")])
    status = study.status()
    assert status.hours_left is None
    assert status.time_left == "unknown hours left (no estimate exists for Some CPU)"
    save_cost(folder / COST_JSON, [_session("cuda:0", "Some GPU")])
    assert study.status().hours_left == 0.02


def _session(device: str, name: str) -> Session:
    return Session(
        begun=0.0, ended=1.0, first_epoch=0, epochs_done=0, device=device, device_name=name,
        ranks=1, torch="2", allocated_bytes=None, reserved_bytes=None, process_bytes=None,
        card_bytes=None, host_bytes=None, energy_joules=None,
    )  # fmt: skip


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
    assert "estimated" not in status.time_left
    assert all(one.device for one in missing)


def test_damaged_lines_end_what_is_known_of_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert epoch_seconds(path) == []
    path.write_text('{"epoch": 0, "begun": 1, "ended": 3.5}\n{"epo')
    assert epoch_seconds(path) == [2.5]
