"""Pieces of methods that are not plans alone: networks of one's own, predictions made elsewhere."""

import json
import shutil
from pathlib import Path

import pytest

from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.runs.trained_model import TrainedModel
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.jobs import JobOptions, do_job
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import NAME, changes

pytestmark = pytest.mark.slow

MINE = Run(NAME, "mine", 0, 0)


@pytest.fixture
def widened(finished: Path) -> Path:
    """The study with a network of one's own, and with predictions that were made elsewhere."""
    document = json.loads(finished.read_text())
    document["methods"] |= {
        "mine": {
            "preset": "M",
            "changes": changes(residual=True),
            "network": "tests.study.unattended.own_network.make_network",
        },
        "theirs": {"predictions": "predictions/{dataset}"},
    }
    document["metrics"] = ["Dice", "clDice"]
    finished.write_text(json.dumps(document))
    predictions = finished.parent / "predictions" / NAME
    predictions.mkdir(parents=True)
    made = finished.parent / "runs" / NAME / "resenc-m" / "seed_0" / "fold_0" / "validation"
    for path in made.glob("*.nii.gz"):
        shutil.copy(path, predictions)
    return finished


def test_own_networks_predictions_and_further_metrics_are_part_of_a_study(widened: Path) -> None:
    allowed = JobOptions(device="cpu", allow_import=("tests",))
    opened = OpenedStudy.open(widened)
    said: list[str] = []
    codes = [do_job(opened, job, allowed, said.append) for job in opened.graph.jobs]
    assert codes == [ExitCode.DONE] * 5, said
    assert f"training of {NAME}/resenc-m/seed_0/fold_0: begins." not in said
    assert json.loads((opened.places.run(MINE).path / "run.json").read_text())["name"] == "mine"
    assert opened.places.model(MINE).identifier.startswith("mine__")
    report = Study.load(widened).report()[0].parent
    [dataset] = json.loads((report / "results.json").read_text())["datasets"]
    means = {
        (metric["metric"], one["method"]): one["mean"]
        for metric in dataset["metrics"]
        for one in metric["methods"]
        if one["label"] == "all"
    }
    assert means["Dice", "theirs"] == means["Dice", "resenc-m"], "they are the same segmentations"
    assert ("clDice", "mine") in means
    page = (report / "report.html").read_text()
    assert "theirs: not recorded of which folds the predictions are" in page
    costs = json.loads((report / "costs.json").read_text())
    assert [one["trainings"] for one in costs] == [1, 1, 1, 0]
    assert costs[2]["expected"]["parameters"] == 27 * 2 * 4 + 4


def test_a_network_of_a_module_that_may_not_be_imported_is_named(widened: Path) -> None:
    findings = Study.load(widened).check().findings
    [finding] = [one for one in findings if one.severity == "error"]
    assert finding.rule == "S001"
    assert "mine on Dataset900_Phantom: cannot be trained. 'tests.study" in finding.message
    assert "may be imported" in finding.message


def test_missing_predictions_are_found_before_anything_runs(widened: Path) -> None:
    shutil.rmtree(widened.parent / "predictions")
    findings = Study.load(widened).check(allow_import=("tests",)).findings
    assert [one.rule for one in findings if one.severity == "error"] == ["S003"]
    opened = OpenedStudy.open(widened)
    assert opened.state(Piece("evaluation", Run(NAME, "theirs"))) == "missing"


def test_what_a_trainer_of_nnunet_changes_of_the_network_is_predicted_with(finished: Path) -> None:
    run = Run(NAME, "other norm", 0, 0)
    document = json.loads(finished.read_text())
    document["methods"][run.method] = {
        "preset": "default",
        "changes": changes(residual=False),
        "settings": {"trainer": "nnUNetTrainerBN"},
    }
    finished.write_text(json.dumps(document))
    opened = OpenedStudy.open(finished)
    said: list[str] = []
    jobs = [job for job in opened.graph.jobs if job.pieces[-1].run in (run, Run(NAME, run.method))]
    codes = [do_job(opened, job, JobOptions(device="cpu"), said.append) for job in jobs]
    assert codes == [ExitCode.DONE] * 2, said
    predicted = TrainedModel.load(opened.places.model(run).folder)
    assert "BatchNorm3d" in predicted.config.to_dict()["architecture"]["arch_kwargs"]["norm_op"]
    assert opened.places.model(run).trainer == run.method
