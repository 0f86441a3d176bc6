"""Evaluating folders: what fails is named, the rest is done."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resenc_plans
from resenc_plans.datasets.images.images import Image
from resenc_plans.errors import EvaluationError, UsageError
from resenc_plans.evaluation import task
from resenc_plans.evaluation.evaluate import compare_folders
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import EvaluationTask
from tests.evaluation.label_folders import write_dataset_json, write_labels

TASK = EvaluationTask((1,), file_ending=".nii.gz")


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
    evaluation = compare_folders(folder / "pred", folder / "ref", TASK)
    assert evaluation.summary is not None
    assert len(evaluation.summary.cases) == 2
    assert evaluation.summary.foreground_mean["Dice"] == 1
    (problem,) = evaluation.problems
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
    assert not compare_folders(folder / "pred", folder / "ref", TASK).problems


def test_a_prediction_without_a_reference_is_named(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert "has no reference" in problem_of(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    write_labels(folder / "pred" / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    (folder / "ref" / "bad.nii.gz").write_bytes(b"nothing")
    assert "unreadable" in problem_of(folder)


def test_references_without_a_prediction_are_listed(folder: Path) -> None:
    write_labels(folder / "ref" / "more.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert compare_folders(folder / "pred", folder / "ref", TASK).missing == ("more.nii.gz",)


def test_without_a_file_ending_all_images_count_and_nothing_else(folder: Path) -> None:
    (folder / "pred" / "plans.json").write_text("{}")
    evaluation = compare_folders(folder / "pred", folder / "ref", EvaluationTask((1,)))
    assert evaluation.summary is not None
    assert len(evaluation.summary.cases) == 2


def test_an_empty_folder_and_no_folder_are_errors(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"has no \.nii\.gz file, so there is nothing"):
        compare_folders(folder / "empty", folder / "ref", TASK)
    with pytest.raises(EvaluationError, match="nowhere: no such folder"):
        compare_folders(folder / "nowhere", folder / "ref", TASK)


class AtOnce(Executor):
    """An executor of any engine."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_any_executor_does_the_work(folder: Path) -> None:
    done: list[str] = []
    evaluation = compare_folders(
        folder / "pred", folder / "ref", TASK, executor=AtOnce(), on_case=done.append
    )
    assert evaluation.summary is not None
    assert sorted(done) == [case.name for case in evaluation.summary.cases]


def test_an_error_of_any_kind_stops_no_other_case(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = vars(task)["read_label"]

    def broken(path: str, reader: str | None) -> Image:
        if path.endswith("bad.nii.gz"):
            raise ValueError("a library fails")
        return read(path, reader)

    monkeypatch.setattr(task, "read_label", broken)
    for kind in ("pred", "ref"):
        write_labels(folder / kind / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8))
    assert problem_of(folder) == "ValueError: a library fails"


def test_one_call_finds_the_labels_and_writes_every_result(folder: Path) -> None:
    write_dataset_json(folder / "dataset.json", {"background": 0, "liver": 1}, None)
    write_labels(folder / "images" / "good_0000.nii.gz", np.ones((3, 4, 5), np.float32))
    steps: list[tuple[str, int]] = []

    @contextmanager
    def progress(step: str, cases: int) -> Iterator[Callable[[str], object]]:
        steps.append((step, cases))
        yield lambda _: None

    evaluation = resenc_plans.evaluate(
        folder / "pred", folder / "ref",
        plot=folder / "plot.png", overlay=folder / "pictures", images=folder / "images",
        progress=progress,
    )  # fmt: skip
    assert evaluation.task.describe(1) == "1 liver"
    assert evaluation.summary is not None
    assert Summary.load(folder / "pred" / "summary.json") == evaluation.summary
    assert evaluation.written == (
        folder / "pred" / "summary.json",
        folder / "plot.png",
        folder / "pictures",
    )
    assert all(path.exists() for path in evaluation.written)
    assert [problem.case[:3] for problem in evaluation.not_drawn] == ["Grö"]
    assert steps == [("Evaluating", 2), ("Drawing", 2)]


def test_contradictions_are_refused_before_anything_is_written(folder: Path) -> None:
    folders = folder / "pred", folder / "ref"
    with pytest.raises(UsageError, match="`overlay=` needs `images=`"):
        resenc_plans.evaluate(*folders, labels=[1], overlay=folder / "pictures")
    with pytest.raises(UsageError, match="either `labels=` or `dataset=`"):
        resenc_plans.evaluate(*folders, labels=[1], dataset="4")
    with pytest.raises(UsageError, match=r"`tolerance=` -1: a distance of at least 0 mm"):
        resenc_plans.evaluate(*folders, labels=[1], surface=True, tolerance=-1)
    with pytest.raises(EvaluationError, match="so the labels are not known"):
        resenc_plans.evaluate(*folders)
    assert not (folder / "pred" / "summary.json").exists()
