import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import DTypeLike

from resenc_plans.datasets.images import nifti
from resenc_plans.datasets.images.images import can_read, read_file
from resenc_plans.datasets.images.nifti import scan
from resenc_plans.datasets.images.readers import SIMPLEITK
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
        assert scan(tmp_path / name) == frozenset(), name


def test_real_files_pass(shared: Path) -> None:
    paths = sorted((shared / "data" / "Dataset004_Hippocampus").rglob("*_00?*.nii.gz"))[:20]
    assert len(paths) == 20
    assert all(scan(path) == frozenset() for path in paths)


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


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), -1.0, 1e30])
def test_an_offset_that_no_file_has_is_an_error(
    whole: bytes, tmp_path: Path, offset: float
) -> None:
    damaged = whole[:108] + struct.pack("<f", offset) + whole[112:]
    (tmp_path / "a.nii").write_bytes(damaged)
    with pytest.raises(DatasetError, match="not a NIfTI file"):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.slow
def test_few_bytes_that_stand_for_many_are_not_unpacked(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = whole[:40] + struct.pack("<8h", 3, 2000, 2000, 2000, 1, 1, 1, 1) + whole[56:352]
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    zeros = bytes(1 << 20)
    content = packer.compress(header) + b"".join(packer.compress(zeros) for _ in range(3000))
    (tmp_path / "a.nii.gz").write_bytes(content + packer.flush())
    monkeypatch.setattr(nifti, "free_memory", lambda: 1 << 30)
    with pytest.raises(DatasetError, match=r"voxels take .* but 1\.0 GiB of memory are free"):
        nifti.read(tmp_path / "a.nii.gz")


def test_what_follows_the_voxels_is_not_kept(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(whole + bytes(50_000_000))
    tracemalloc.start()
    nifti.read(tmp_path / "a.nii")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.slow
def test_damaged_headers_are_an_error_in_words_or_an_image(whole: bytes, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = errors = 0
    for trial in range(400):
        damaged = bytearray(whole)
        for position in random.integers(0, 352, 1 + trial % 3):
            damaged[position] = random.integers(256)
        (tmp_path / "a.nii").write_bytes(damaged)
        for reader in ("SimpleITKIO", "NibabelIOWithReorient"):
            try:
                read_file(tmp_path / "a.nii", reader)
                images += 1
            except DatasetError as error:
                assert "a.nii" in str(error)
                errors += 1
    assert images > 100
    assert errors > 50


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("offset", "numbers"),
    [
        (312, (1e-43, 0, 1, float("inf"))),
        (312, (0, float("-inf"), 1, 0)),
        (280, (0, 0, 0, 0, 0, float("nan"), 0, 0, 0, 0, 1, 0)),
    ],
)
def test_a_position_that_is_not_finite_is_an_error_before_itk_reads_it_for_ever(
    whole: bytes, tmp_path: Path, order: str, offset: int, numbers: tuple[float, ...]
) -> None:
    header = bytearray(whole)
    header[252:256] = struct.pack("<2h", 1, 1)
    header[offset:328] = struct.pack(f"<{len(numbers)}f", *numbers)
    if order == ">":
        fields = ((0, 4, 4), (40, 76, 2), (76, 120, 4), (252, 256, 2), (256, 328, 4))
        for start, end, size in fields:
            for field in range(start, end, size):
                header[field : field + size] = header[field : field + size][::-1]
    for name, content in (("a.nii", bytes(header)), ("a.nii.gz", gzip.compress(header))):
        (tmp_path / name).write_bytes(content)
        for read in (can_read, read_file):
            with pytest.raises(DatasetError, match="not finite"):
                read(tmp_path / name, SIMPLEITK)
