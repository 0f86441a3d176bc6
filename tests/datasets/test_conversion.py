"""Tasks of the Decathlon and of nnU-Net v1 become datasets, whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans import Dataset, ResencPlansError
from resenc_plans.datasets.conversion import convert_msd, convert_old_dataset
from resenc_plans.datasets.images.images import read_image
from tests.datasets.old_tasks import write_task


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "raw"
    folder.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(folder))
    return folder


def test_each_channel_of_a_4d_image_becomes_a_file(raw: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "Task05_Prostate", channels=2)

    dataset = Dataset.load(convert_msd(task, workers=1))

    assert dataset.name == "Dataset005_Prostate"
    assert dataset.channels == ("T2", "ADC")
    assert dict(dataset.json.labels) == {"background": 0, "PZ": 1, "TZ": 2}
    assert [case.name for case in dataset.cases] == ["prostate_00", "prostate_01"]
    image = read_image(dataset.cases[0].images)
    assert image.spacing == pytest.approx((3.0, 0.6, 0.5))
    np.testing.assert_array_equal(image.array[1], image.array[0] + 1000)
    assert sorted(path.name for path in (dataset.folder / "imagesTs").iterdir()) == [
        "prostate_07_0000.nii.gz",
        "prostate_07_0001.nii.gz",
    ]
    assert not list(raw.glob(".*"))


def test_an_old_dataset_keeps_its_files(raw: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "Task005_Prostate", channels=1, old=True)

    dataset = Dataset.load(convert_old_dataset(task, "Dataset105_Prostate", raw))

    for file in (task / "imagesTr").iterdir():
        assert (dataset.folder / "imagesTr" / file.name).read_bytes() == file.read_bytes()
    assert dataset.json.file_ending == ".nii.gz"
    assert "modality" not in dataset.json.to_dict()


def without_labels(task: Path) -> None:
    (task / "labelsTr" / "prostate_01.nii.gz").unlink()


def broken_json(task: Path) -> None:
    path = task / "dataset.json"
    path.write_text(path.read_text()[:-20])


def damaged_image(task: Path) -> None:
    path = task / "imagesTr" / "prostate_01.nii.gz"
    path.write_bytes(path.read_bytes()[:200])


def changed(**keys: Any) -> Callable[[Path], None]:
    def change(task: Path) -> None:
        path = task / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_labels, "prostate_01.nii.gz has no segmentation in labelsTr"),
        (broken_json, "truncated"),
        (damaged_image, "prostate_01"),
        (changed(modality={"0": "T2"}), "has 2 channels, but dataset.json names 1"),
        (changed(modality=None), "modality maps numbers"),
        (changed(labels={"0": "background", "1": "a", "2": "a"}), "two labels are named 'a'"),
        (changed(labels={"background": 0}), "labels maps values to names"),
        (changed(labels={"0": "background", "1" * 5000: "a"}), "'a' has 5,000 digits"),
    ],
)
def test_what_cannot_be_converted_is_told_and_leaves_nothing(
    damage: Callable[[Path], None], words: str, raw: Path, tmp_path: Path
) -> None:
    task = write_task(tmp_path / "Task05_Prostate", channels=2)
    damage(task)
    with pytest.raises(ResencPlansError, match=words):
        convert_msd(task, raw, workers=1)
    assert not list(raw.iterdir())


def test_a_number_or_a_name_that_is_none_is_refused(raw: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "Task05_Prostate", channels=2)
    (raw / "Dataset005_Other").mkdir()
    with pytest.raises(ResencPlansError, match=r"5 is taken by .*Dataset005_Other"):
        convert_msd(task, raw)
    assert convert_msd(task, raw, new_id=6, workers=1).name == "Dataset006_Prostate"
    with pytest.raises(ResencPlansError, match=r"Prostate: no such folder"):
        convert_msd(tmp_path / "elsewhere" / "Prostate")
    with pytest.raises(ResencPlansError, match="Task05_Prostate"):
        convert_msd(raw / "Dataset005_Other", raw)
    with pytest.raises(ResencPlansError, match="Dataset005_Prostate"):
        convert_old_dataset(task, "Prostate", raw)
