"""What makes methods less comparable: every rule has an example that breaks it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.runs.folds import FoldCases
from resenc_plans.study.compare import compare
from resenc_plans.study.rules import RULES
from tests.evaluation.label_folders import write_dataset_json, write_labels
from tests.study.made_results import dice_like, write_summary

SCORES = dice_like(40)
BETTER = dice_like(40, shift=0.05)


def alike(folder: Path) -> tuple[Path, Path]:
    """Two results that break no rule but the last: their references exist."""
    return with_references(write_summary(folder / "a", SCORES), write_summary(folder / "b", BETTER))


def with_references(*paths: Path) -> tuple[Path, Path]:
    references = paths[0].parent / "references"
    references.mkdir()
    for path in paths:
        text = (path / "summary.json").read_text()
        (path / "summary.json").write_text(text.replace("references/", f"{references}/"))
        for case in range(len(SCORES)):
            (references / f"case_{case}.nii.gz").touch()
    first, second = paths
    return first, second


def missing_cases(folder: Path) -> tuple[Path, Path]:
    return with_references(
        write_summary(folder / "a", SCORES), write_summary(folder / "b", BETTER[:35])
    )


def a_label_less(folder: Path) -> tuple[Path, Path]:
    return with_references(
        write_summary(folder / "a", SCORES),
        write_summary(folder / "b", BETTER[:, :1], labels=(1,)),
    )


def other_names_of_labels(folder: Path) -> tuple[Path, Path]:
    first, second = alike(folder)
    write_dataset_json(first / "dataset.json", {"background": 0, "liver": 1}, None)
    write_dataset_json(second / "dataset.json", {"background": 0, "spleen": 1}, None)
    return first, second


def other_references(folder: Path) -> tuple[Path, Path]:
    return with_references(
        write_summary(folder / "a", SCORES), write_summary(folder / "b", BETTER, voxels=1001)
    )


def the_same_twice(folder: Path) -> tuple[Path, Path]:
    return with_references(write_summary(folder / "a", SCORES), write_summary(folder / "b", SCORES))


def an_unfinished_fold(folder: Path) -> tuple[Path, Path]:
    first, second = alike(folder)
    model = folder / "nnUNetTrainer__P__3d"
    (model / "fold_0").mkdir(parents=True)
    second.rename(model / "fold_0" / "validation")
    (model / "fold_1").mkdir()
    (model / "plans.json").write_text("{}")
    return first, model


def trained_on(folder: Path) -> tuple[Path, Path]:
    first, second = alike(folder)
    run = folder / "nnUNetTrainer__P__3d" / "fold_0"
    run.mkdir(parents=True)
    FoldCases(train=("case_3", "case_90"), val=("case_91",)).save(run)
    record = {"checkpoints": [str(run / "checkpoint_final.pth")]}
    (second / "predict_from_raw_data_args.json").write_text(json.dumps(record))
    return first, second


def of_unrecorded_folds(folder: Path) -> tuple[Path, Path]:
    """Predictions of a fold that recorded its cases, and some as nnU-Net leaves them."""
    first, second = alike(folder)
    run = folder / "nnUNetTrainer__P__3d" / "fold_0"
    run.mkdir(parents=True)
    FoldCases(train=("case_90",), val=("case_91",)).save(run)
    record = {"checkpoints": [str(run / "checkpoint_final.pth")]}
    (first / "predict_from_raw_data_args.json").write_text(json.dumps(record))
    (second / "predict_from_raw_data_args.json").write_text('{"folds": [0], "checkpoints": null}')
    return first, second


def other_tolerances(folder: Path) -> tuple[Path, Path]:
    paths = alike(folder)
    for path, tolerance in zip(paths, (1.0, 2.0), strict=True):
        figures = {
            f"case_{case}.nii.gz": {label: {"NSD": tolerance / 2 - case / 100} for label in "12"}
            for case in range(40)
        }
        document = {"tolerance_mm": tolerance, "metric_per_case": figures}
        (path / "metrics.json").write_text(json.dumps(document))
    return paths


def an_undefined_score(folder: Path) -> tuple[Path, Path]:
    scores, better = SCORES.copy(), BETTER.copy()
    scores[0, 0] = better[0, 0] = np.nan
    return with_references(write_summary(folder / "a", scores), write_summary(folder / "b", better))


def few_cases(folder: Path) -> tuple[Path, Path]:
    return with_references(
        write_summary(folder / "a", SCORES[:29]), write_summary(folder / "b", BETTER[:29])
    )


def a_small_difference(folder: Path) -> tuple[Path, Path]:
    return with_references(
        write_summary(folder / "a", SCORES),
        write_summary(folder / "b", dice_like(40, shift=0.001)),
    )


def references_elsewhere(folder: Path) -> tuple[Path, Path]:
    return write_summary(folder / "a", SCORES), write_summary(folder / "b", BETTER)


BREAKS: dict[str, tuple[Callable[[Path], tuple[Path, Path]], dict[str, str], str]] = {
    "C001": (missing_cases, {}, "b: 5 of 40 cases are missing: case_35"),
    "C002": (a_label_less, {}, "b: has no label 2, which the others have"),
    "C003": (other_names_of_labels, {}, "label 1 is liver in one and spleen in the other"),
    "C004": (other_references, {}, "the references differ in 40 cases: case_0"),
    "C005": (the_same_twice, {}, "a and b: have the same score in every case"),
    "C006": (an_unfinished_fold, {}, "fold 1 is not finished, so its cases are left out"),
    "C008": (trained_on, {}, "b: was trained on 1 of the 40 cases: case_3"),
    "C009": (other_tolerances, {}, "a and b: NSD has a tolerance of 1 mm in one and 2 mm in the"),
    "C101": (an_undefined_score, {}, "Dice of label 1: 1 case is left out"),
    "C102": (few_cases, {}, "29 cases: the intervals of so few may be too narrow"),
    "C103": (a_small_difference, {}, "; so few cases show only differences of 0.0"),
    "C104": (alike, {"a": "200h"}, "a: takes 3.0 times the hours of the nearest preset"),
    "C105": (alike, {"a": "9h", "b": "66h"}, "b: takes 7.3 times the hours of a"),
    "C201": (references_elsewhere, {}, "a, b: references cannot be opened"),
    "C202": (alike, {}, "each of the 2 methods was trained once"),
    "C203": (of_unrecorded_folds, {}, "b: not recorded of which folds the predictions are"),
}


def test_every_rule_has_an_example_that_breaks_it() -> None:
    elsewhere = {"C007"}  # needs images
    assert [rule.id for rule in RULES if rule.id not in elsewhere] == list(BREAKS)


@pytest.mark.parametrize("rule", BREAKS)
def test_what_makes_methods_less_comparable_is_found_by_its_rule_alone(
    tmp_path: Path, rule: str
) -> None:
    make, budgets, text = BREAKS[rule]
    [dataset] = compare(*make(tmp_path), budgets=budgets, draws=100).datasets
    findings = [one for one in dataset.findings if one.rule not in {"C202", "C203"} - {rule}]
    assert {one.rule for one in findings} == {rule}
    assert text in findings[0].message
    severities = {"C0": "error", "C1": "warning", "C2": "note"}
    assert {one.severity for one in findings} == {severities[rule[:2]]}


def test_the_runs_of_trained_models_are_compared_too(tmp_path: Path) -> None:
    paths = []
    for name, epochs in (("A", 5), ("B", 9)):
        model = tmp_path / f"nnUNetTrainer__{name}__3d"
        scores = SCORES if name == "A" else BETTER
        write_summary(model / "fold_0" / "validation", scores)
        debug = {"num_epochs": str(epochs), "num_iterations_per_epoch": "250"}
        (model / "fold_0" / "debug.json").write_text(json.dumps(debug))
        (model / "plans.json").write_text('{"configurations": {}}')
        paths.append(model)
    [dataset] = compare(*paths, draws=100).datasets
    assert dataset.methods == ("A", "B")
    [finding] = [one for one in dataset.findings if one.rule == "R001"]
    assert finding.message == "A and B: epochs and iterations: 5 x 250 and 9 x 250"
    assert "R000" in {one.rule for one in dataset.findings}


def test_a_segmentation_that_cannot_be_evaluated_is_named(tmp_path: Path) -> None:
    write_dataset_json(tmp_path / "dataset.json", {"background": 0, "liver": 1}, None)
    array = np.zeros((4, 5, 6), np.uint8)
    for case in range(3):
        array[1, 1, case] = 1
        for name in ("a", "b", "references"):
            write_labels(tmp_path / name / f"case_{case}.nii.gz", array)
    (tmp_path / "b" / "case_1.nii.gz").write_bytes(b"no image")
    references = tmp_path / "references"
    [dataset] = compare(tmp_path / "a", tmp_path / "b", references=references, draws=100).datasets
    [finding] = [one for one in dataset.findings if one.rule == "C007"]
    assert finding.message.startswith("b: 1 segmentation could not be evaluated, such as case_1")
    assert dataset.cases == ("case_0", "case_2")


def test_the_runs_of_models_are_compared_whatever_is_named_first(tmp_path: Path) -> None:
    paths = [write_summary(tmp_path / "test", SCORES)]
    for name, epochs in (("A", 5), ("B", 9)):
        run = tmp_path / f"nnUNetTrainer__{name}__3d" / "fold_0"
        write_summary(run / "validation", SCORES if name == "A" else BETTER)
        debug = {"num_epochs": str(epochs), "num_iterations_per_epoch": "250"}
        (run / "debug.json").write_text(json.dumps(debug))
        (run.parent / "plans.json").write_text('{"configurations": {}}')
        paths.append(run)
    [dataset] = compare(*paths, draws=100).datasets
    [finding] = [one for one in dataset.findings if one.rule == "R001"]
    assert "epochs and iterations: 5 x 250 and 9 x 250" in finding.message
