"""Validation of a fold with a predictor that answers from the references."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import EvaluationError, FileError
from resenc_plans.evaluation.evaluate import Evaluation
from resenc_plans.evaluation.validation import validate_fold
from resenc_plans.execution.cases import CaseProblem
from tests.evaluation.label_folders import write_dataset_json, write_labels


class KnowAll:
    """Gives the reference for every case but c."""

    def __init__(self, references: Path) -> None:
        self.references = references

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> tuple[CaseProblem, ...]:
        del probabilities
        for name in set(cases) - {"c"}:
            shutil.copy(self.references / f"{name}.nii.gz", target)
        return (CaseProblem("c", "too dark"),) if "c" in cases else ()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tmp_path / "Dataset009_Small"
    for case in "abc":
        array = np.zeros((3, 4, 5), np.uint8)
        array[1] = 1
        for channel in ("0000", "0001"):
            write_labels(folder / "imagesTr" / f"{case}_{channel}.nii.gz", array)
        write_labels(folder / "labelsTr" / f"{case}.nii.gz", array)
    write_dataset_json(folder / "dataset.json", {"background": 0, "liver": 1}, None)
    return Dataset.load(folder)


def validate(dataset: Dataset, cases: str, model: Path) -> Evaluation:
    model.mkdir(exist_ok=True)
    shutil.copy(dataset.folder / "dataset.json", model)
    predictor = KnowAll(dataset.folder / "labelsTr")
    return validate_fold(model, 0, tuple(cases), dataset.folder / "labelsTr", predictor)


def test_held_out_cases_are_predicted_and_scored(dataset: Dataset, tmp_path: Path) -> None:
    model = tmp_path / "T__P__C"
    stale = model / "fold_0" / "validation" / "old.nii.gz"
    write_labels(stale, np.zeros((2, 2, 2), np.uint8))
    evaluation = validate(dataset, "ab", model)
    assert evaluation.problems == ()
    assert evaluation.missing == ()
    summary = json.loads((model / "fold_0" / "validation" / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] == 1
    assert len(summary["metric_per_case"]) == 2


def test_a_case_without_a_prediction_is_a_problem(dataset: Dataset, tmp_path: Path) -> None:
    write_labels(tmp_path / "T__P__C/fold_0/validation/c.nii.gz", np.zeros((3, 4, 5), np.uint8))
    evaluation = validate(dataset, "abc", tmp_path / "T__P__C")
    assert evaluation.problems == (CaseProblem("c.nii.gz", "too dark"),)
    assert evaluation.summary is not None
    assert len(evaluation.summary.cases) == 2


class Interrupted(KnowAll):
    """Ends in the middle, as a process that is killed."""

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> tuple[CaseProblem, ...]:
        super().predict_cases(cases[:1], target, probabilities=probabilities)
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [KnowAll, Interrupted])
def test_nothing_of_an_earlier_validation_stays_beside_a_new_one(
    dataset: Dataset, tmp_path: Path, kind: type[KnowAll]
) -> None:
    model = tmp_path / "T__P__C"
    validation = model / "fold_0" / "validation"
    validation.mkdir(parents=True)
    shutil.copy(dataset.folder / "dataset.json", model)
    stale = (
        *("a.npz", "a.pkl", "c.npz", "c.pkl"),
        *("summary.json", "validation.json", "metrics.json", "surface.json"),
    )
    for name in stale:
        (validation / name).write_text("{}")
    predictor, references = kind(dataset.folder / "labelsTr"), dataset.folder / "labelsTr"
    with suppress(KeyboardInterrupt):
        validate_fold(model, 0, ("a", "c"), references, predictor)
    left = {path.name for path in validation.iterdir()}
    assert left == ({"a.nii.gz", "summary.json"} if kind is KnowAll else {"a.nii.gz"})


def test_where_no_case_is_predicted_no_earlier_summary_stays(
    dataset: Dataset, tmp_path: Path
) -> None:
    model = tmp_path / "T__P__C"
    validate(dataset, "a", model)
    assert validate(dataset, "c", model).summary is None
    assert not (model / "fold_0" / "validation" / "summary.json").exists()


def test_a_fold_that_holds_out_nothing_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds out no case"):
        validate(dataset, "", tmp_path / "T__P__C")


def test_nothing_is_predicted_behind_a_link_in_the_models_folder(
    dataset: Dataset, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    write_labels(mine / "a.nii.gz", np.zeros((2, 2, 2), np.uint8))
    before = (mine / "a.nii.gz").read_bytes()
    (tmp_path / "T__P__C" / "fold_0").mkdir(parents=True)
    (tmp_path / "T__P__C" / "fold_0" / "validation").symlink_to(mine)
    with pytest.raises(FileError, match="symbolic link"):
        validate(dataset, "ab", tmp_path / "T__P__C")
    assert [path.read_bytes() for path in mine.iterdir()] == [before]
