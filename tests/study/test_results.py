"""Reading results: which files count, and what they are called."""

import json
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import EvaluationError, FileError
from resenc_plans.evaluation.evaluate import evaluate
from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.study.results import MethodResult, Source, read_results
from tests.evaluation.label_folders import write_dataset_json, write_labels
from tests.study.made_results import dice_like, write_summary

ARGUMENT = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def read(*paths: Path | str, **options: object) -> tuple[MethodResult, ...]:
    return read_results([Source.parse(path) for path in paths], **options)  # type: ignore[arg-type]


def write_model(folder: Path, folds: dict[str, dict[str, list[float]]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text("{}")
    write_dataset_json(folder / "dataset.json", {"background": 0, "front": 1, "back": 2}, None)
    for fold, dice in folds.items():
        write_summary(folder / f"fold_{fold}" / "validation", dice)
    return folder


FOLDS = {"0": {"a": [0.9, 0.8]}, "1": {"b": [0.7, 0.6]}}


def test_metrics_of_other_segmentations_than_the_summarys_are_refused(tmp_path: Path) -> None:
    references, predictions = tmp_path / "references", tmp_path / "predictions"
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3] = 1
    for folder in (references, predictions):
        write_labels(folder / "a.nii.gz", labels)
    write_dataset_json(references / "dataset.json", {"background": 0, "front": 1}, None)
    dataset = references / "dataset.json"
    evaluate(predictions, references, dataset=dataset, metrics=["lesion_F1"])
    evaluate(predictions, references, dataset=dataset)
    [result] = read(predictions)
    assert result.cases["a"].metrics[1]["lesion_F1"] == 1
    labels[0] = 1
    write_labels(predictions / "a.nii.gz", labels)
    evaluate(predictions, references, dataset=dataset)
    with pytest.raises(
        EvaluationError, match=r"metrics\.json: was measured on other segmentations"
    ):
        read(predictions)
    evaluate(predictions, references, dataset=dataset, metrics=["lesion_F1"])
    assert len(read(predictions)) == 1


def test_the_folds_of_a_model_are_read_as_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "Dataset004_Small" / ARGUMENT, FOLDS)
    [result] = read(folder)
    assert (result.name, result.dataset) == (ARGUMENT, "Dataset004_Small")
    assert sorted(result.cases) == ["a", "b"]
    assert result.folds == ("0", "1")
    assert result.label_names[1] == "front"


def test_models_are_compared_on_the_folds_that_all_have_finished(tmp_path: Path) -> None:
    one = write_model(tmp_path / "D" / ARGUMENT, FOLDS)
    other = write_model(tmp_path / "D" / f"{ARGUMENT}_b", FOLDS)
    (other / "fold_1" / "validation" / "summary.json").unlink()
    first, second = read(one, other)
    assert first.folds == second.folds == ("0",)
    assert second.unfinished == ("1",)


def test_a_summary_a_fold_and_a_folder_of_predictions_are_read(tmp_path: Path) -> None:
    model = write_model(tmp_path / "D" / ARGUMENT, FOLDS)
    predictions = write_summary(tmp_path / "predictions", {"a": [0.5, 0.5]})
    fold, file, folder = read(model / "fold_0", predictions / "summary.json", f"mine={predictions}")
    assert fold.name == ARGUMENT
    assert fold.label_names[2] == "back"
    assert file.name == "predictions"
    assert folder.name == "mine"


def test_predictions_without_a_summary_are_evaluated_and_nothing_is_written(tmp_path: Path) -> None:
    write_dataset_json(tmp_path / "dataset.json", {"background": 0, "front": 1}, None)
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 1:4, 2:5] = 1
    for folder in ("references", "predictions"):
        write_labels(tmp_path / folder / "a.nii.gz", array)
    [result] = read(tmp_path / "predictions", references=tmp_path / "references")
    assert result.cases["a"].metrics[1]["Dice"] == 1
    assert not (tmp_path / "predictions" / "summary.json").exists()


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("x/test", "y/test"), ["x", "y"]),
        (("x/test/1", "y/test/1", "x/val/1"), ["x/test", "y/test", "val"]),
        (("t__a__c/crossval_results_folds_0_1", "t__b__c/crossval_results_folds_0_1"), ["a", "b"]),
        (("x/test", "y/other"), ["test", "other"]),
    ],
)
def test_names_that_are_alike_are_the_folders_above_them_that_differ(
    folders: tuple[str, ...], names: list[str], tmp_path: Path
) -> None:
    paths = [write_summary(tmp_path / folder, {"a": [0.5, 0.5]}) for folder in folders]
    assert [result.name for result in read(*paths)] == names


def test_of_collected_validations_it_is_known_that_they_were_held_out(tmp_path: Path) -> None:
    model = write_model(tmp_path / "D" / ARGUMENT, FOLDS)
    for name, trained_on in (("0_1", ()), ("all", ("a",))):
        folder = write_summary(model / f"crossval_results_folds_{name}", {"a": [0.5, 0.5]})
        [result] = read(folder)
        assert result.has_recorded_folds
        assert result.trained_on == trained_on
    [result] = read(write_summary(model / "predicted", {"a": [0.5, 0.5]}))
    assert not result.has_recorded_folds


def test_a_case_in_two_folds_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / ARGUMENT, {"0": FOLDS["0"], "1": FOLDS["0"]})
    with pytest.raises(EvaluationError, match="case a occurs twice"):
        read(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.parent, "no such file or folder"),
        (lambda path: path.mkdir(), "no summary.json, no folds and no segmentations"),
        (lambda path: write_labels(path / "a.nii.gz", np.zeros((2, 2, 2))), "Evaluate them"),
        (lambda path: write_model(path / ARGUMENT, FOLDS), f"Name one: {ARGUMENT}"),
        (lambda path: (path / "fold_0").mkdir(parents=True), "the training is not finished"),
    ],
)
def test_a_path_without_results_is_named(make: object, message: str, tmp_path: Path) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(EvaluationError, match=message):
        read(tmp_path / "x")


def test_a_truncated_summary_is_named(tmp_path: Path) -> None:
    path = write_summary(tmp_path / "x", dice_like(3)) / "summary.json"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError, match="was it truncated"):
        read(tmp_path / "x")


def test_a_fold_is_that_of_its_model(tmp_path: Path) -> None:
    model = write_model(tmp_path / "D" / ARGUMENT, FOLDS)
    run = model / "fold_1"
    for path in (run, run / "validation", run / "validation" / "summary.json"):
        [result] = read(path)
        assert result.model == ModelFolder(model)
        assert (result.folds, result.unfinished) == (("1",), ())


def test_the_fold_of_all_cases_is_read_only_where_there_is_no_other(tmp_path: Path) -> None:
    both = {"a": [0.9, 0.8], "b": [0.7, 0.6]}
    [result] = read(write_model(tmp_path / ARGUMENT, {**FOLDS, "all": both}))
    assert result.folds == ("0", "1")
    [result] = read(write_model(tmp_path / "x" / ARGUMENT, {"all": both}))
    assert result.folds == ("all",)
    assert result.trained_on == ("a", "b")


def test_cases_that_a_model_was_trained_on_are_known_from_its_folds(tmp_path: Path) -> None:
    model = write_model(tmp_path / ARGUMENT, FOLDS)
    FoldCases(train=("b", "c"), val=("a",)).save(model / "fold_0")
    FoldCases(train=("a", "b"), val=("b",)).save(model / "fold_1")
    [result] = read(model)
    assert result.trained_on == ("b",)
    assert result.has_recorded_folds
    test_set = write_summary(model / "fold_0" / "test", {"a": [0.5, 0.5], "c": [0.5, 0.5]})
    [result] = read(test_set)
    assert result.trained_on == ("c",)


def test_cases_that_a_model_was_trained_on_are_known_from_the_record_of_predictions(
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path / ARGUMENT, FOLDS)
    for fold, train in enumerate(("bc", "ad")):
        FoldCases(train=tuple(train), val=("x",)).save(model / f"fold_{fold}")
    predictions = write_summary(tmp_path / "test", {case: [0.5, 0.5] for case in "ace"})
    record = {"checkpoints": [f"{model}/fold_{fold}/checkpoint_final.pth" for fold in (0, 1, 2)]}
    (predictions / "predict_from_raw_data_args.json").write_text(json.dumps(record))
    [result] = read(predictions)
    assert result.trained_on == ("a", "c")
    assert not result.has_recorded_folds, "fold 2 does not say what it was trained on"
    (model / "fold_2").mkdir()
    FoldCases(train=("z",), val=("x",)).save(model / "fold_2")
    assert read(predictions)[0].has_recorded_folds
    for other in ("[]", '{"checkpoints": 3}', '{"checkpoints": [null, ""]}', "{"):
        (predictions / "predict_from_raw_data_args.json").write_text(other)
        assert read(predictions)[0].trained_on == ()
        assert not read(predictions)[0].has_recorded_folds
