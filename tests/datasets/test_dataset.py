import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Dataset
from resenc_plans.errors import DatasetError, FileError, UsageError
from tests.datasets.made import document, write_dataset


def test_a_dataset_is_found_by_path_name_and_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "Dataset007_Made")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    for given in (folder, str(folder), "Dataset007_Made", "7", "007", 7):
        dataset = Dataset.load(given)
        assert dataset.name == "Dataset007_Made"
        assert len(dataset.cases) == 3


@pytest.mark.parametrize("wrong", [None, 4.0, ["4"]])
def test_what_names_no_dataset_is_refused_in_words(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"`dataset=` is .*Give the path, the name or the id"):
        Dataset.load(wrong)


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_dataset(tmp_path / "Dataset007_Made"))
    assert Dataset.load(".").name == "Dataset007_Made"


def test_real_cases_are_listed_with_their_files(shared: Path) -> None:
    dataset = Dataset.load(shared / "data" / "Dataset501_BrainMR")
    case = dataset.cases[0]
    assert [c.name for c in dataset.cases] == ["study2", "study3"]
    assert [path.name for path in case.images] == [f"study2_{i:04}.nii.gz" for i in range(4)]
    assert case.label == dataset.folder / "labelsTr" / "study2.nii.gz"
    assert dataset.channels == ("T1post", "T1pre", "FLAIR", "T2")
    assert dataset.labels.num_heads == 3
    assert dataset.reader_name == "SimpleITKIO"


def test_a_lone_dataset_json_is_a_dataset_without_cases(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(document()))
    assert Dataset.load(tmp_path).cases == ()


def test_explicit_paths_keep_their_order_and_expand_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGES_HERE", "some/images")
    cases = {
        "b": {"images": ["$IMAGES_HERE/b.nii.gz", "../c.nii.gz"], "label": "b_seg.nii.gz"},
        "a": {"images": ["/far/a0.nii.gz", "/far/a1.nii.gz"], "label": "/far/a_seg.nii.gz"},
    }
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(document(dataset=cases)))
    first, second = Dataset.load(folder).cases
    assert first.name == "b"
    assert first.images == (folder / "some/images/b.nii.gz", tmp_path / "c.nii.gz")
    assert first.label == folder / "b_seg.nii.gz"
    assert second.images == (Path("/far/a0.nii.gz"), Path("/far/a1.nii.gz"))


def test_an_unreadable_first_image_does_not_decide_the_reader(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "made")
    (folder / "imagesTr" / "case_000_0000.nii.gz").write_bytes(b"no image")
    assert Dataset.load(folder).reader_name == "SimpleITKIO"


def test_a_dataset_can_be_sent_to_another_process(tmp_path: Path) -> None:
    dataset = Dataset.load(write_dataset(tmp_path / "made"))
    assert pickle.loads(pickle.dumps(dataset)).cases == dataset.cases


def test_contradicting_labels_are_an_error_only_where_labels_are_asked_for(tmp_path: Path) -> None:
    dataset = Dataset.load(write_dataset(tmp_path / "made", labels={"organ": 1}))
    assert len(dataset.cases) == 3
    with pytest.raises(DatasetError, match=r"dataset.json, labels"):
        _ = dataset.labels


def test_a_folder_without_dataset_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no dataset.json"):
        Dataset.load(tmp_path)


def test_a_truncated_dataset_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(document())[:-20])
    with pytest.raises(FileError, match=r"dataset.json.*not valid JSON"):
        Dataset.load(tmp_path)
