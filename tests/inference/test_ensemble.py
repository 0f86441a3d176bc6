"""Averages of probabilities; interop tests compare them with nnU-Net's."""

import json
from pathlib import Path

import numpy as np
import pytest

from resenc_plans.datasets.images.images import read_label
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.inference.ensemble import ensemble_folders
from resenc_plans.safe_pickle import load_pickle
from tests.inference.predictions import ITK, PROPERTIES, REGIONS, SHAPE, prediction, probabilities


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [prediction(tmp_path / str(seed), seed) for seed in range(3)]


def test_the_largest_mean_wins(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resenc_plans.inference.ensemble.VALUES_AT_ONCE", 90)
    result = ensemble_folders(folders, tmp_path / "out", probabilities=True, workers=2)
    assert result.done == ("one", "two")
    assert result.problems == ()
    mean = np.mean([probabilities(folder) for folder in folders], axis=0)
    np.testing.assert_allclose(probabilities(tmp_path / "out"), mean, rtol=1e-6)
    written = read_label(tmp_path / "out" / "one.nii.gz")
    np.testing.assert_array_equal(written.array[0], mean.argmax(axis=0))
    assert written.properties["sitk_stuff"]["origin"] == ITK["origin"]
    assert load_pickle(tmp_path / "out" / "one.pkl") == PROPERTIES


def test_a_summary_of_segmentations_that_are_replaced_is_removed_and_that_is_told(
    folders: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = tmp_path / "out" / "summary.json"
    ensemble_folders(folders, tmp_path / "out")
    assert caplog.text == ""
    summary.write_text("{}")
    ensemble_folders(folders, tmp_path / "out")
    assert not summary.exists()
    assert f"{summary}: is removed, since its segmentations are replaced." in caplog.text


def test_regions_paint_where_their_mean_passes_one_half(tmp_path: Path) -> None:
    folders = [prediction(tmp_path / str(seed), seed, REGIONS) for seed in range(2)]
    ensemble_folders(folders, tmp_path / "out")
    whole, core = np.mean([probabilities(folder) for folder in folders], axis=0)
    expected = np.where(core > 0.5, 2, whole > 0.5)
    np.testing.assert_array_equal(read_label(tmp_path / "out" / "one.nii.gz").array[0], expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset.json", "one.nii.gz", "two.nii.gz",
    ]  # fmt: skip


def test_half_precision_and_fortran_order_are_read(tmp_path: Path) -> None:
    first = prediction(tmp_path / "first", 1, dtype=np.float16)
    second = prediction(tmp_path / "second", 2)
    turned = np.asfortranarray(probabilities(second))
    np.savez(second / "one.npz", probabilities=turned)
    ensemble_folders([first, second], tmp_path / "out", probabilities=True)
    mean = (probabilities(first).astype(np.float32) + turned) / 2
    np.testing.assert_allclose(probabilities(tmp_path / "out"), mean, rtol=1e-6)


@pytest.mark.parametrize("damage", ["truncated", "text", "other key", "no pickle", "flipped bits"])
def test_a_damaged_case_is_named_and_the_others_are_done(
    folders: list[Path], tmp_path: Path, damage: str
) -> None:
    path = folders[1] / "two.npz"
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "other key":
        np.savez(path, softmax=np.zeros((3, *SHAPE)))
    elif damage == "flipped bits":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    else:
        path = folders[0] / "two.pkl"
        path.unlink()
    result = ensemble_folders(folders, tmp_path / "out", probabilities=True)
    assert result.done == ("one",)
    (problem,) = result.problems
    assert problem.case == "two"
    assert str(path) in problem.reason
    assert not list((tmp_path / "out").glob("*two*"))


def test_predictions_of_different_images_are_refused(folders: list[Path], tmp_path: Path) -> None:
    np.savez(folders[2] / "two.npz", probabilities=np.zeros((3, 5, 6, 8), np.float32))
    (problem,) = ensemble_folders(folders, tmp_path / "out").problems
    assert "(3, 5, 6, 8)" in problem.reason
    assert str(folders[2] / "two.npz") in problem.reason


def test_predictions_of_another_number_of_labels_are_refused(
    folders: list[Path], tmp_path: Path
) -> None:
    for folder in folders:
        np.savez(folder / "two.npz", probabilities=np.zeros((4, *SHAPE), np.float32))
    (problem,) = ensemble_folders(folders, tmp_path / "out").problems
    assert "the dataset's labels make (3, z, y, x)" in problem.reason


def test_folders_with_different_cases_are_refused(folders: list[Path], tmp_path: Path) -> None:
    (folders[1] / "two.npz").unlink()
    with pytest.raises(FileError, match=r"different cases: .*1 lacks two\."):
        ensemble_folders(folders, tmp_path / "out")


def test_folders_that_cannot_be_averaged_are_named(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        ensemble_folders([*folders, tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="has no probabilities"):
        ensemble_folders([*folders, tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(FileError, match="one of the folders"):
        ensemble_folders(folders, folders[0])
    (folders[0] / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        ensemble_folders(folders, tmp_path / "out")


def test_a_file_ending_that_leads_elsewhere_writes_nothing(
    folders: list[Path], tmp_path: Path
) -> None:
    path = folders[0] / "dataset.json"
    document = json.loads(path.read_text()) | {"file_ending": "/../../x.nii.gz"}
    path.write_text(json.dumps(document))
    with pytest.raises(FileError, match="has a slash"):
        ensemble_folders(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()
