"""Segmentations on disk: whole or not there."""

from pathlib import Path

import numpy as np
import pytest

from resenc_plans.datasets.images.images import read_label
from resenc_plans.datasets.images.segmentation_files import write_segmentation
from resenc_plans.errors import DatasetError, FileError

ITK = {"spacing": (0.9, 1.2, 3.0), "origin": (1.0, 2.0, 3.0), "direction": tuple(np.eye(3).ravel())}
PROPERTIES = {"spacing": (3.0, 1.2, 0.9), "sitk_stuff": ITK}
LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["case.nii.gz", "case.mha", "Fall ü 1.nrrd"])
def test_a_segmentation_is_read_back(tmp_path: Path, name: str) -> None:
    write_segmentation(LABELS, tmp_path / name, PROPERTIES)
    np.testing.assert_array_equal(read_label(tmp_path / name).array[0], LABELS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_stack_keeps_the_file_with_its_spacing(tmp_path: Path) -> None:
    write_segmentation(LABELS, tmp_path / "case.tif", {"spacing": (3.0, 1.0, 1.0)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.json", "case.tif"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "case.nii.gz"
    path.write_bytes(b"before")
    with pytest.raises(DatasetError, match="do not say where it lies"):
        write_segmentation(LABELS, path, {"sitk_stuff": {}})
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd", ".gipl"])
def test_a_file_that_the_disk_cuts_short_is_not_kept(tmp_path: Path, ending: str) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    labels = np.random.default_rng(0).integers(0, 200, (20, 20, 20), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(FileError, match=rf"case{ending}: .*larger than this process may"):
            write_segmentation(labels, tmp_path / f"case{ending}", PROPERTIES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"{tmp_path}/case.xyz"):
        write_segmentation(LABELS, tmp_path / "case.xyz", PROPERTIES)
    with pytest.raises(FileError, match="nowhere"):
        write_segmentation(LABELS, tmp_path / "nowhere" / "case.nii.gz", PROPERTIES)
