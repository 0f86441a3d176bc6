"""Where the names of a dataset's cases come from."""

from pathlib import Path

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.runs.dataset_cases import DatasetCases, dataset_cases

STORED = {"c", "a"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0},
        "file_ending": ".nii.gz",
        "numTraining": 5,
    }
    return Dataset(tmp_path / "raw", DatasetJson.model_validate(document))


def test_stored_cases_alone_are_counted_against_the_dataset(
    dataset: Dataset, tmp_path: Path
) -> None:
    assert dataset_cases(dataset, tmp_path, STORED) == DatasetCases(("a", "c"), unnamed=3)


def test_references_name_what_is_not_stored(dataset: Dataset, tmp_path: Path) -> None:
    references = tmp_path / "gt_segmentations"
    references.mkdir()
    for name in "ab":
        (references / f"{name}.nii.gz").touch()
    assert dataset_cases(dataset, tmp_path, STORED) == DatasetCases(("a", "b", "c"))


def test_raw_data_decide(dataset: Dataset, tmp_path: Path) -> None:
    images = dataset.folder / "imagesTr"
    images.mkdir(parents=True)
    for name in "ba":
        (images / f"{name}_0000.nii.gz").touch()
    assert dataset_cases(dataset, tmp_path, STORED) == DatasetCases(("a", "b"))
