"""What is compared: labels from a dataset.json or from a list."""

from pathlib import Path

import numpy as np
import pytest

from resenc_plans.errors import DatasetError, EvaluationError, UsageError
from resenc_plans.evaluation.task import find_task
from tests.evaluation.label_folders import write_dataset_json, write_labels


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    write_labels(tmp_path / "pred" / "a.nii.gz", np.zeros((3, 4, 5), np.uint8))
    return tmp_path / "pred"


def test_the_dataset_json_beside_the_predictions_goes_before_that_of_the_references(
    predictions: Path, tmp_path: Path
) -> None:
    references = tmp_path / "raw" / "labelsTr"
    references.mkdir(parents=True)
    write_dataset_json(references.parent / "dataset.json", {"background": 0, "liver": 1}, None)
    assert find_task(predictions, references).describe(1) == "1 liver"
    write_dataset_json(predictions / "dataset.json", {"background": 0, "spleen": 1}, None)
    assert find_task(predictions, references).describe(1) == "1 spleen"


def test_a_dataset_is_found_by_its_id(
    predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "raw" / "Dataset009_Small"
    folder.mkdir(parents=True)
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    write_dataset_json(folder / "dataset.json", labels, (1, 2))
    monkeypatch.setenv("nnUNet_raw", str(folder.parent))
    task = find_task(predictions, dataset=9)
    assert task.regions == ((1, 2), 2)
    assert task.ignore_label == 3
    assert task.foreground_labels == (1, 2)
    assert task.file_ending == ".nii.gz"
    with pytest.raises(DatasetError, match="not found"):
        find_task(predictions, dataset="10")


def test_labels_may_be_listed_instead(predictions: Path) -> None:
    task = find_task(predictions, labels=[2, 1, 2], ignore_label=5)
    assert (task.regions, task.ignore_label, task.file_ending) == ((2, 1), 5, None)
    with pytest.raises(UsageError, match="either `labels=` or `dataset=`"):
        find_task(predictions, labels=[1], dataset=4)


def test_without_labels_the_message_says_where_they_were_expected(
    predictions: Path, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=r"No dataset\.json in .*pred or .*, so the labels"):
        find_task(predictions, tmp_path / "ref")
