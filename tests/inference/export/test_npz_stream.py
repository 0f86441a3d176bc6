"""Arrays in .npz files, written and read in pieces."""

import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from resenc_plans.errors import FileError
from resenc_plans.inference.export.npz_stream import ArrayReader, write_npz


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100),
    pieces=st.lists(st.integers(0, 700), max_size=8),
    dtype=st.sampled_from([np.float32, np.float16, np.uint8]),
)
def test_numpy_reads_what_was_written_in_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    pieces: Any,
    dtype: DTypeLike,
) -> None:
    path = tmp_path_factory.mktemp("npz") / "array.npz"
    values = np.random.default_rng(seed).integers(0, 9, sum(pieces)).astype(dtype)
    with write_npz(path, "values", values.shape, dtype) as array:
        for start, count in zip(np.cumsum([0, *pieces]), pieces, strict=False):
            array.write(values[start : start + count])
    with np.load(path) as arrays:
        assert arrays.files == ["values"]
        assert arrays["values"].dtype == dtype
        np.testing.assert_array_equal(arrays["values"], values)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with ArrayReader(path, "values") as reader:
        assert reader.shape == values.shape
        for start, count in zip(np.cumsum([0, *pieces]), pieces, strict=False):
            np.testing.assert_array_equal(reader.read(count), values[start : start + count])


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_other_programs_read_the_archive(tmp_path: Path) -> None:
    with write_npz(tmp_path / "array.npz", "values", (5, 10**6), np.float32) as array:
        for value in range(5):
            array.write(np.full(10**6, value, np.float32))
    done = subprocess.run(["unzip", "-t", tmp_path / "array.npz"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "array.npz").stat().st_size < 10**6


def test_an_array_that_lacks_values_is_not_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="2 values are missing"),
        write_npz(tmp_path / "array.npz", "values", (5,), np.float32) as array,
    ):
        array.write(np.zeros(3))
    assert not list(tmp_path.iterdir())


def test_what_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "array.npz", values=np.array(["a", "b"]))
    with pytest.raises(FileError, match="not numbers"):
        ArrayReader(tmp_path / "array.npz", "values")
    np.savez(tmp_path / "objects.npz", values=np.array([{}], dtype=object))
    with pytest.raises(FileError, match="not numbers"):
        ArrayReader(tmp_path / "objects.npz", "values")
    with pytest.raises(FileError, match="no such file"):
        ArrayReader(tmp_path / "nowhere.npz", "values")


def test_damaged_bytes_are_an_error_in_words_or_other_values(tmp_path: Path) -> None:
    path = tmp_path / "array.npz"
    with write_npz(path, "values", (2, 30), np.float32) as array:
        array.write(np.arange(60, dtype=np.float32))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    arrays = errors = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for position in random.integers(0, len(whole), 2):
            damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        try:
            with ArrayReader(path, "values") as reader:
                reader.read(60)
            arrays += 1
        except FileError as error:
            assert "array.npz" in str(error)
            errors += 1
    assert arrays > 0
    assert errors > 100


@pytest.mark.parametrize("shape", [(10**12,), (-1,), (2**62, 2**62)])
def test_an_array_that_claims_more_than_the_file_holds_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "array.npz", "w") as archive:
        archive.writestr("values.npy", header.getvalue())
    with pytest.raises(FileError, match="too few"):
        ArrayReader(tmp_path / "array.npz", "values")
