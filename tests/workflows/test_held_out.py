"""The validation of held-out cases: where their references are."""

from pathlib import Path

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.workflows.held_out import references_of
from tests.evaluation.label_folders import write_dataset_json


def test_references_are_named_so_that_they_can_be_opened_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("raw/labelsTr", "raw/imagesTr", "preprocessed/gt_segmentations"):
        (tmp_path / folder).mkdir(parents=True)
    write_dataset_json(tmp_path / "raw" / "dataset.json", {"background": 0, "liver": 1}, None)
    monkeypatch.chdir(tmp_path)
    dataset = Dataset.load("raw")
    expected = tmp_path / "preprocessed" / "gt_segmentations"
    assert references_of(Path("preprocessed"), dataset) == expected
    expected.rmdir()
    assert references_of(Path("preprocessed"), dataset) == tmp_path / "raw" / "labelsTr"
