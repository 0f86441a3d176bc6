"""Metrics beside Dice: figures that one can check by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import FileError, UsageError
from resenc_plans.evaluation.chosen_metrics import (
    ChosenMetrics,
    centreline_dice,
    check_chosen_metrics,
    lesion_f1,
    measure_case,
    measure_chosen,
)
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.evaluation.task import EvaluationTask
from tests.evaluation.label_folders import write_labels

EMPTY = np.zeros((3, 5, 12), bool)


def tube(length: int) -> np.ndarray:
    """A tube of three by three voxels along x."""
    mask = np.zeros((3, 5, 12), bool)
    mask[:, 1:4, 1 : 1 + length] = True
    return mask


def test_a_tube_that_is_cut_short_loses_centreline_of_one_side() -> None:
    whole = centreline_dice(tube(10), tube(10))
    short = centreline_dice(tube(5), tube(10))
    assert whole == 1
    assert 0.6 < short < 0.8


def test_a_thick_tube_has_the_same_centreline() -> None:
    thin = np.zeros((3, 5, 12), bool)
    thin[1, 2, 1:11] = True
    assert centreline_dice(tube(10), thin) == 1


def test_pieces_count_whatever_their_size() -> None:
    reference, prediction = np.zeros((2, 1, 4, 20), bool)
    reference[0, 0:3, 0:6] = reference[0, 0, 10] = True
    prediction[0, 0, 0] = prediction[0, 0, 10] = prediction[0, 0, 19] = True
    assert lesion_f1(prediction, reference) == pytest.approx(2 * 2 / (2 * 2 + 1))


@pytest.mark.parametrize("metric", [centreline_dice, lesion_f1])
def test_an_empty_mask_scores_0_and_two_score_nothing(metric: object) -> None:
    assert metric(EMPTY, tube(3)) == metric(tube(3), EMPTY) == 0  # type: ignore[operator]
    assert math.isnan(metric(EMPTY, EMPTY))  # type: ignore[operator]


def test_what_is_ignored_is_background() -> None:
    reference = tube(3).astype(int)
    prediction = reference.copy()
    prediction[0, 0, 11] = 1
    reference[0, 0, 11] = 2
    [figures] = measure_case(
        prediction, reference, (1, 1, 1), [1], names=["lesion_F1"], ignore_label=2
    )
    assert figures == {"lesion_F1": 1.0}


def test_a_folder_is_measured_saved_and_read_back(tmp_path: Path) -> None:
    for name in ("pred", "ref"):
        write_labels(tmp_path / name / "a.nii.gz", tube(4).astype(np.uint8))
    write_labels(tmp_path / "pred" / "b.nii.gz", tube(4).astype(np.uint8))
    task = EvaluationTask((1, 2))
    measured = measure_chosen(tmp_path / "pred", tmp_path / "ref", task, ["clDice", "lesion_F1"])
    assert [problem.case for problem in measured.problems] == ["b.nii.gz"]
    measured.save(tmp_path / "metrics.json")
    again = ChosenMetrics.load(tmp_path / "metrics.json")
    assert again.cases["a.nii.gz"][1] == {"clDice": 1.0, "lesion_F1": 1.0}
    assert again.names == ("clDice", "lesion_F1")
    assert math.isnan(again.mean(2)["clDice"])


def test_evaluate_writes_chosen_metrics_beside_the_summary(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    for name in ("pred", "ref"):
        write_labels(tmp_path / name / "a.nii.gz", tube(4).astype(np.uint8))
    evaluation = evaluate(
        tmp_path / "pred", tmp_path / "ref", labels=[1], metrics=["dice", "hd95", "cldice"]
    )
    document = json.loads((tmp_path / "pred" / "metrics.json").read_text())
    assert document["metric_per_case"]["a.nii.gz"]["1"] == {"HD95": 0.0, "clDice": 1.0}
    assert evaluation.chosen is not None
    assert [path.name for path in evaluation.written] == ["summary.json", "metrics.json"]


def test_an_unknown_metric_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="not a metric"):
        check_chosen_metrics(["HD99"], 1)
    with pytest.raises(UsageError, match="`tolerance="):
        check_chosen_metrics(["clDice"], -1)
    assert check_chosen_metrics(["Dice", "cldice"], 1) == ("clDice",)


@pytest.mark.parametrize("text", ["[]", "{}", '{"tolerance_mm": 1, "metric_per_case": {"a": 3}}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(FileError, match="does not hold metrics of cases"):
        ChosenMetrics.load(tmp_path / "metrics.json")
