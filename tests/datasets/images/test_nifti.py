import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import DTypeLike

from resenc_plans.datasets.images.nifti import scan
from resenc_plans.errors import DatasetError
from tests.datasets.made import image_array, write_image


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.nii"
    write_image(path, image_array(0, (30, 30, 30)))
    return path.read_bytes()


def test_whole_files_pass(whole: bytes, tmp_path: Path) -> None:
    half = len(whole) // 2
    contents = {
        "plain.nii": whole,
        "packed.nii.gz": gzip.compress(whole),
        "in_two_members.nii.gz": gzip.compress(whole[:half]) + gzip.compress(whole[half:]),
        "with_padding_after.nii.gz": gzip.compress(whole) + bytes(600),
        "not_packed_after_all.nii.gz": whole,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        scan(tmp_path / name)


def test_real_files_pass(shared: Path) -> None:
    for path in sorted((shared / "data" / "Dataset004_Hippocampus").rglob("*_00?*.nii.gz"))[:20]:
        scan(path)


@pytest.mark.parametrize("missing", [1, 1000, 50000])
def test_missing_bytes_are_counted(missing: int, whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(whole[:-missing])
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole[:-missing]))
    for name in ("a.nii", "a.nii.gz"):
        with pytest.raises(DatasetError, match=f"truncated.*{len(whole) - missing}.*{len(whole)}"):
            scan(tmp_path / name)


def test_damaged_gzip_data_are_an_error(whole: bytes, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(whole))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(packed)
    with pytest.raises(DatasetError, match="gzip data are damaged"):
        scan(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_itk_turns_into_zeros_are_told(
    ending: str, dtype: DTypeLike, tmp_path: Path
) -> None:
    array = image_array(0, (30, 30, 30)).astype(dtype)
    for value, kinds in ((0, set()), (np.nan, {"nan"}), (-np.inf, {"nan", "infinite"})):
        array[29 - len(kinds), 29, 29] = value
        write_image(tmp_path / f"a{ending}", array)
        assert scan(tmp_path / f"a{ending}") == kinds
