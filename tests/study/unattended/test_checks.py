"""What is wrong with a study before anything runs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import StudyError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.jobs import JobOptions, do_job
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import NAME, SHORT, changes, study_document, write_study

pytestmark = pytest.mark.slow


def methods(**more: Any) -> dict[str, Any]:
    return {"methods": study_document()["methods"] | more}


SMALL = changes(residual=False)
OWN_NETWORK = """
from torch import nn


def make(input_channels, output_heads):
    return nn.Conv3d(input_channels, output_heads, 3, padding=1)
"""
CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing": ({}, {}),
    "the same twice": (
        methods(twin={"preset": "default", "changes": SMALL}),
        {"S004": "original and twin on Dataset900_Phantom: have the same network"},
    ),
    "unlike budgets": (
        methods(longer={"preset": "default", "changes": SMALL, "settings": {"epochs": 9}}),
        {"R001": "original and longer on Dataset900_Phantom: epochs and iterations: 1 x 1 and 9"},
    ),
    "a baseline that is none": (
        methods(strange={"baseline": "mednext-l-k4"}),
        {
            "S001": "strange on Dataset900_Phantom: cannot be trained. methods.strange.baseline: "
            "There is no baseline 'mednext-l-k4'. Did you mean mednext-l-k5"
        },
    ),
    "a shared trainer's name on other settings": (
        methods(
            nnUNetTrainerDA5={
                "preset": "default",
                "changes": SMALL,
                "settings": {"learning_rate": 0.1},
            }
        ),
        {"S001": "nnUNetTrainerDA5 on Dataset900_Phantom: cannot be trained. The name nnUNet"},
    ),
    "a trainer that the network does not suit": (
        methods(
            primus={
                "preset": "default",
                "configuration": "2d",
                "settings": {"trainer": "nnUNet_Primus_S_Trainer"},
            }
        ),
        {"S001": "trains a Primus"},
    ),
    "folds": ({"folds": [0, 7]}, {"S002": f"{NAME}: has folds 0 to 4, but the study asks for 7"}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_error_is_found_and_no_other(name: str, finished: Path) -> None:
    parts, expected = CASES[name]
    finished.write_text(json.dumps(json.loads(finished.read_text()) | parts))
    errors = Study.load(finished).check().errors
    assert {one.rule for one in errors} == set(expected)
    for rule, message in expected.items():
        assert any(message in one.message for one in errors if one.rule == rule), errors


def test_hours_are_unknown_where_a_method_cannot_be_planned(tmp_path: Path) -> None:
    strange = {"baseline": "no-such-system"}
    checked = Study.load(write_study(tmp_path, methods={"a": strange, "b": strange})).check()
    assert checked.gpu_hours is None
    sentences = [one.sentence for one in checked.findings if one.rule == "S001"]
    assert len(sentences) == 2
    assert not any(sentence.endswith("..") for sentence in sentences)


def test_a_second_study_does_not_take_the_folder_of_the_first(finished: Path) -> None:
    Study.load(finished).report()
    report = finished.parent / "report" / "provenance.json"
    before = report.read_bytes()
    other = finished.with_name("other.json")
    other.write_text(json.dumps(json.loads(finished.read_text()) | {"name": "Another"}))
    second = Study.load(other)
    [found] = [one for one in second.check().errors if one.rule == "S009"]
    assert "holds the results of study.json" in found.message
    for do in (second.run, second.report):
        with pytest.raises(StudyError, match=r"results of study\.json"):
            do()
    assert report.read_bytes() == before
    finished.unlink()
    second.report()
    assert json.loads(report.read_text())["study"]["name"] == "Another"


def test_trainings_that_are_stale_or_broken_are_named_before_they_stop_a_run(
    finished: Path,
) -> None:
    def warnings() -> list[str]:
        found = Study.load(finished).check().findings
        return [one.message for one in found if one.rule == "S103"]

    assert warnings() == []
    document = json.loads(finished.read_text())
    finished.write_text(json.dumps(document | {"training": SHORT | {"epochs": 2}}))
    assert len(warnings()) == 2
    assert all("other inputs or settings" in message for message in warnings())
    reasons = {one.reason for one in Study.load(finished).status().jobs if one.state == "stale"}
    assert reasons == {"was made from other inputs or settings than the study has now"}


def test_what_is_done_takes_no_more_hours(finished: Path) -> None:
    assert Study.load(finished).check().gpu_hours == 0
    document = json.loads(finished.read_text()) | {"seeds": [0, 1], "training": SHORT}
    finished.write_text(json.dumps(document))
    checked = Study.load(finished).check()
    assert [(one.trainings, one.missing) for one in checked.methods] == [(2, 1), (2, 1)]
    assert checked.gpu_hours is not None
    assert checked.gpu_hours > 0


def test_methods_that_would_overwrite_each_others_stored_cases_are_found(finished: Path) -> None:
    plans = json.loads(
        (finished.parent / "preprocessed" / NAME / "original.plans.json").read_text()
    )
    plans["configurations"]["3d_fullres"]["spacing"] = [2.5, 0.9, 0.9]
    (finished.parent / "fine.json").write_text(json.dumps(plans))
    document = json.loads(finished.read_text())
    document["methods"]["fine"] = {
        "plans": "fine.json", "configuration": "3d_fullres_original",
    }  # fmt: skip
    finished.write_text(json.dumps(document))
    errors = Study.load(finished).check().errors
    assert {one.rule for one in errors} == {"S005"}
    assert (
        "share the stored cases nnUNetPlans_3d_fullres, but differ in spacing" in errors[0].message
    )


def test_slips_in_plans_of_ones_own_are_told(finished: Path) -> None:
    plans = json.loads(
        (finished.parent / "preprocessed" / NAME / "original.plans.json").read_text()
    )
    plans["configurations"]["3d_fullres_original"]["patchsize"] = [8, 8, 8]
    (finished.parent / "own.json").write_text(json.dumps(plans))
    own = {"plans": "own.json", "configuration": "3d_fullres_original"}
    finished.write_text(json.dumps(json.loads(finished.read_text()) | methods(own=own)))
    found = [one.message for one in Study.load(finished).check().findings if one.rule == "S104"]
    [slip] = [message for message in found if "[P101]" in message]
    assert slip.startswith(f"own on {NAME}: ")
    assert "3d_fullres_original: patchsize is unknown" in slip
    assert "Did you mean patch_size?" in slip


def test_cases_that_are_in_no_split_and_splits_of_no_cases_are_found(finished: Path) -> None:
    path = finished.parent / "preprocessed" / NAME / "splits_final.json"
    splits = json.loads(path.read_text())
    gone = splits[0]["val"][0]
    path.write_text(json.dumps(splits).replace(f'"{gone}"', '"stranger"'))
    found = {one.severity: one.message for one in Study.load(finished).check().findings
             if one.rule == "S008"}  # fmt: skip
    assert found == {
        "error": f"{NAME}: the splits name 1 case that it does not have: stranger",
        "warning": f"{NAME}: 1 case is in no split, hence without any effect: {gone}",
    }


def test_an_own_network_is_checked_and_not_changed_between_its_runs(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = finished.parent / "lab_networks.py"
    source.write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(source.parent)
    monkeypatch.delitem(sys.modules, "lab_networks", raising=False)
    own = {"preset": "M", "changes": changes(residual=True), "network": "lab_networks.make"}
    finished.write_text(json.dumps(json.loads(finished.read_text()) | methods(mine=own)))
    study, run = Study.load(finished), Run(NAME, "mine", 0, 0)
    checked = study.check(allow_import=["lab_networks"])
    assert checked.errors == ()
    [mine] = [one for one in checked.methods if one.method == "mine"]
    assert (mine.cost.parameters, mine.missing) == (27 * 2 * 4 + 4, 1)
    [refused] = study.check().errors
    assert "'lab_networks.make' is not" in refused.message

    options = JobOptions(device="cpu", allow_import=("lab_networks",))
    jobs = [job for job in study.opened.graph.jobs if job.pieces[-1].run.method == "mine"]
    assert [do_job(study.opened, job, options) for job in jobs] == [ExitCode.DONE] * 2
    assert study.check(allow_import=["lab_networks"]).errors == ()
    source.write_text(OWN_NETWORK + "# changed")
    [refused] = study.check(allow_import=["lab_networks"]).errors
    assert refused.rule == "S001"
    assert "The source of lab_networks.make is not that with which" in refused.message
    piece = Piece("training", run)
    record = study.opened.record(piece)
    assert record is not None
    record.model_copy(update={"status": "begun"}).save(study.opened.places.record(piece))
    assert do_job(study.opened, jobs[-1], options) is ExitCode.FAILED
    record = study.opened.record(piece)
    assert record is not None
    assert "The source of lab_networks.make is not that" in (record.reason or "")
