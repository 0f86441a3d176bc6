"""The results of a study's runs, as its report reads them."""

import json
from pathlib import Path

import pytest

from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.outcomes import finished_runs
from tests.study.unattended.made_study import NAME

pytestmark = pytest.mark.slow


def test_scores_that_were_altered_are_not_read(finished: Path) -> None:
    assert len(finished_runs(OpenedStudy.open(finished))) == 2
    fold = finished.parent / "runs" / NAME / "original" / "seed_0" / "fold_0"
    summary = fold / "validation" / "summary.json"
    document = json.loads(summary.read_text())
    for case in document["metric_per_case"]:
        for figures in case["metrics"].values():
            figures["Dice"] = 1.0
    summary.write_text(json.dumps(document))
    [left] = finished_runs(OpenedStudy.open(finished))
    assert left.run.method == "resenc-m"
