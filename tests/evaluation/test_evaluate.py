"""Evaluating folders: what fails is named, the rest is done."""

from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.evaluate import Question, evaluate_folder
from tests.evaluation.label_folders import write_labels

QUESTION = Question((1,), file_ending=".nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good cases, one of them with a name that is not plain ASCII."""
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1:, 1:3] = 1
    for kind in ("pred", "ref"):
        for name in ("good", "Größe 海 " + "x" * 200):
            write_labels(tmp_path / kind / f"{name}.nii.gz", labels)
    return tmp_path


def problem_of(folder: Path) -> str:
    found = evaluate_folder(folder / "pred", folder / "ref", QUESTION)
    assert found.summary is not None
    assert len(found.summary.cases) == 2
    assert found.summary.foreground_mean["Dice"] == 1
    (problem,) = found.problems
    assert problem.case == "bad.nii.gz"
    return problem.reason


def test_another_shape_is_named_and_the_others_are_done(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 6), np.uint8))
    write_labels(folder / "ref" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert "has the shape (3, 4, 6), but the reference has (3, 4, 5)" in problem_of(folder)


def test_another_spacing_is_named(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8), (2, 1, 1))
    write_labels(folder / "ref" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8), (2, 1, 1.5))
    assert "has the spacing 2x1x1 mm, but the reference has 2x1x1.5 mm" in problem_of(folder)


def test_rounding_of_spacings_is_no_fault(folder: Path) -> None:
    for kind, spacing in (("pred", 0.3333), ("ref", 0.33333)):
        write_labels(folder / kind / "good.nii.gz", np.ones((3, 4, 5), np.uint8), (1, 1, spacing))
    assert not evaluate_folder(folder / "pred", folder / "ref", QUESTION).problems


def test_a_prediction_without_a_reference_is_named(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert "has no reference" in problem_of(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    (folder / "ref" / "bad.nii.gz").write_bytes(b"nothing")
    assert "unreadable" in problem_of(folder)


def test_references_without_a_prediction_are_listed(folder: Path) -> None:
    write_labels(folder / "ref" / "more.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert evaluate_folder(folder / "pred", folder / "ref", QUESTION).missing == ("more.nii.gz",)


def test_without_a_file_ending_all_images_count_and_nothing_else(folder: Path) -> None:
    (folder / "pred" / "plans.json").write_text("{}")
    found = evaluate_folder(folder / "pred", folder / "ref", Question((1,)))
    assert found.summary is not None
    assert len(found.summary.cases) == 2


def test_an_empty_folder_and_no_folder_are_errors(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"has no \.nii\.gz file, so there is nothing"):
        evaluate_folder(folder / "empty", folder / "ref", QUESTION)
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        evaluate_folder(folder / "nowhere", folder / "ref", QUESTION)


class AtOnce(Executor):
    """An executor of any engine."""

    def submit(self, function, /, *arguments, **options):
        future: Future = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_any_executor_does_the_work(folder: Path) -> None:
    done: list[str] = []
    found = evaluate_folder(
        folder / "pred", folder / "ref", QUESTION, executor=AtOnce(), on_case=done.append
    )
    assert found.summary is not None
    assert sorted(done) == [case.name for case in found.summary.cases]
