"""Determining, storing and applying post-processing."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans.datasets.images.images import read_label
from resenc_plans.errors import EvaluationError, FileError
from resenc_plans.evaluation.postprocessing.postprocess import (
    Postprocessing,
    apply_postprocessing,
    determine_postprocessing,
    postprocess,
)
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import EvaluationTask
from tests.evaluation.label_folders import write_dataset_json, write_labels

TASK = EvaluationTask((1, 2), file_ending=".nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prediction with a speck of label 1 that is not there, and two true parts of label 2."""
    reference = np.zeros((5, 6, 20), np.uint8)
    reference[1:3, 1:3, 1:4] = 1
    reference[1:3, 1:3, 6:8] = reference[1:3, 1:3, 10:12] = 2
    prediction = reference.copy()
    prediction[4, 5, 19] = 1
    write_labels(tmp_path / "ref" / "a.nii.gz", reference)
    write_labels(tmp_path / "pred" / "a.nii.gz", prediction)
    return tmp_path


def test_a_step_is_taken_where_it_helps(folder: Path) -> None:
    determination = determine_postprocessing(folder / "pred", folder / "ref", TASK)
    assert [(trial.step, trial.accepted) for trial in determination.trials] == [
        ([1, 2], False),
        (1, True),
        (2, False),
    ]
    assert determination.after.foreground_mean["Dice"] == 1


@pytest.mark.parametrize("name", ["postprocessing.json", "postprocessing.pkl"])
def test_what_is_stored_is_read_back_and_applied(folder: Path, name: str) -> None:
    determine_postprocessing(folder / "pred", folder / "ref", TASK).save(folder)
    steps = Postprocessing.load(folder / name)
    assert steps == Postprocessing((1,))
    assert apply_postprocessing(steps, folder / "pred", folder / "out") == ()
    done, reference = read_label(folder / "out" / "a.nii.gz"), read_label(folder / "ref/a.nii.gz")
    assert np.array_equal(done.array, reference.array)
    assert done.properties == reference.properties


def test_a_summary_of_segmentations_that_are_replaced_is_removed_and_that_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset_json(folder / "dataset.json", {"background": 0, "liver": 1, "tumour": 2}, None)
    for _ in range(2):
        postprocess(folder / "pred", folder / "ref", output=folder / "out")
        assert (folder / "out" / "summary.json").is_file()
    assert caplog.text == ""
    apply_postprocessing(Postprocessing(), folder / "pred", folder / "out")
    assert not (folder / "out" / "summary.json").exists()
    assert "summary.json: is removed, since its segmentations are replaced." in caplog.text


def test_a_case_that_fails_is_named_and_leaves_no_file(folder: Path) -> None:
    (folder / "pred" / "bad.nii.gz").write_bytes(b"nothing")
    (problem,) = apply_postprocessing(Postprocessing(), folder / "pred", folder / "out")
    assert problem.case == "bad.nii.gz"
    assert [path.name for path in (folder / "out").iterdir()] == ["a.nii.gz"]
    determination = determine_postprocessing(folder / "pred", folder / "ref", TASK)
    assert [problem.case for problem in determination.problems] == ["bad.nii.gz"]


def test_one_call_determines_stores_and_applies(folder: Path) -> None:
    write_dataset_json(folder / "dataset.json", {"background": 0, "liver": 1, "tumour": 2}, None)
    (folder / "pred" / "bad.nii.gz").write_bytes(b"nothing")
    determination = postprocess(folder / "pred", folder / "ref")
    results = folder / "pred" / "postprocessed"
    assert determination.written == (folder / "pred" / "postprocessing.json", results)
    assert [problem.case for problem in determination.problems] == ["bad.nii.gz"]
    assert Postprocessing.load(determination.written[0]) == determination.postprocessing
    summary = Summary.load(results / "summary.json")
    assert summary.foreground_mean["Dice"] == 1
    assert summary.cases[0].prediction_file == str(results / "a.nii.gz")


def test_the_input_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(EvaluationError, match="is the input folder itself"):
        apply_postprocessing(Postprocessing(), folder / "pred", folder / "pred")
    with pytest.raises(EvaluationError, match="is the input folder itself"):
        postprocess(folder / "pred", folder / "ref", output=folder / "pred")
    assert not (folder / "pred" / "postprocessing.json").exists()


def test_results_are_not_written_behind_a_link(folder: Path) -> None:
    write_dataset_json(folder / "dataset.json", {"background": 0, "liver": 1, "tumour": 2}, None)
    (folder / "mine").mkdir()
    (folder / "pred" / "postprocessed").symlink_to(folder / "mine")
    with pytest.raises(FileError, match="symbolic link"):
        postprocess(folder / "pred", folder / "ref")
    assert list((folder / "mine").iterdir()) == []
    assert not (folder / "pred" / "postprocessing.json").exists()


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_a_pickle_that_names_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    path.write_bytes(pickle.dumps(([Call()], [{}])))
    with pytest.raises(FileError, match=r"asks to load posix\.system"):
        Postprocessing.load(path)


def test_a_pickle_that_calls_the_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    name = b"remove_all_but_largest_component_from_segmentation"
    path.write_bytes(
        b"\x80\x02cnnunetv2.postprocessing.remove_connected_components\n" + name + b"\n)R."
    )
    with pytest.raises(FileError, match="damaged, or no pickle"):
        Postprocessing.load(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "has no postprocessing_fns"),
        ('{"postprocessing_fns": ["rm"], "postprocessing_kwargs": [{}]}', "function 'rm'"),
        ('{"postprocessing_fns": [], "postprocessing_kwargs": [{}]}', "of one length"),
        (
            '{"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],'
            '"postprocessing_kwargs": [{"labels_or_regions": "1"}]}',
            "labels or regions were expected",
        ),
    ],
)
def test_another_json_is_named(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "postprocessing.json").write_text(text)
    with pytest.raises(FileError, match=why):
        Postprocessing.load(tmp_path / "postprocessing.json")
