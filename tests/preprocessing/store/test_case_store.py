"""Stored cases: written whole or not at all, read block by block, nnU-Net's layouts old and new."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest

from resenc_plans.errors import FileError, LockedError, PreprocessingError
from resenc_plans.execution.locks import LockWatch, lock
from resenc_plans.preprocessing.store.case_store import CaseStore, write_case
from tests.preprocessing.store.cases import PATCH, case


def test_a_case_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    stored = case()

    paths = write_case(tmp_path, "case_1", stored, PATCH)

    opened = CaseStore(tmp_path)["case_1"]
    np.testing.assert_array_equal(opened.image[:], stored.image)
    np.testing.assert_array_equal(opened.labels[:], stored.labels)
    assert opened.properties == stored.properties
    assert sorted(p.name for p in paths) == ["case_1.b2nd", "case_1.pkl", "case_1_seg.b2nd"]


def test_a_patch_is_read_from_its_blocks_only(tmp_path: Path) -> None:
    stored = case((1, 64, 64, 64))
    write_case(tmp_path, "case_1", stored, PATCH)

    image = CaseStore(tmp_path)["case_1"].image

    in_file = blosc2.open(str(tmp_path / "case_1.b2nd"), mode="r")
    assert tuple(in_file.blocks) == (1, 16, 16, 16)
    np.testing.assert_array_equal(image[:, 3:19, 8:9, 60:], stored.image[:, 3:19, 8:9, 60:])


def test_nothing_is_stored_for_a_run_that_has_ended(tmp_path: Path) -> None:
    with lock(tmp_path / "lock", tmp_path) as held:
        watch = LockWatch(held)
        write_case(tmp_path, "case_1", case(), PATCH, run=watch)

    with pytest.raises(LockedError, match="has ended"):
        write_case(tmp_path, "case_2", case(), PATCH, run=watch)

    assert list(CaseStore(tmp_path)) == ["case_1"]


@pytest.mark.parametrize("shape", [(1, 8, 9, 10), (3, 70, 300, 200)], ids=["one chunk", "many"])
def test_arrays_of_any_size_come_back(tmp_path: Path, shape: tuple[int, int, int, int]) -> None:
    stored = case(shape)
    write_case(tmp_path, "case_1", stored, (32, 64, 64))

    np.testing.assert_array_equal(CaseStore(tmp_path)["case_1"].image[:], stored.image)


def test_nothing_but_the_case_is_left_in_the_folder(tmp_path: Path) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    write_case(tmp_path, "case_1", case(seed=1), PATCH)

    names = sorted(p.name for p in tmp_path.iterdir() if p.is_file())
    assert names == ["case_1.b2nd", "case_1.pkl", "case_1_seg.b2nd"]
    assert list((tmp_path / ".resenc-plans" / "staging").iterdir()) == []


def test_names_are_sorted_and_segmentations_are_no_cases(tmp_path: Path) -> None:
    for name in ("b", "a_seg", "a"):
        write_case(tmp_path, name, case((1, 4, 4, 4)), PATCH)

    store = CaseStore(tmp_path)

    assert "a" in store
    assert "c" not in store
    with pytest.raises(PreprocessingError):
        store["c"]


@pytest.mark.parametrize("unpacked", [False, True], ids=["npz", "npy"])
def test_older_layouts_are_read(tmp_path: Path, unpacked: bool) -> None:
    stored = case()
    np.savez_compressed(tmp_path / "old.npz", data=stored.image, seg=stored.labels)
    if unpacked:
        np.save(tmp_path / "old.npy", stored.image)
        np.save(tmp_path / "old_seg.npy", stored.labels)
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(stored.properties))

    opened = CaseStore(tmp_path)["old"]

    np.testing.assert_array_equal(opened.image[:, 2:5], stored.image[:, 2:5])
    np.testing.assert_array_equal(opened.labels[:], stored.labels)
    assert list(CaseStore(tmp_path)) == ["old"]


@pytest.mark.parametrize("damage", ["case_1_seg.b2nd", "case_1.pkl"])
def test_a_missing_file_is_named(tmp_path: Path, damage: str) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    (tmp_path / damage).unlink()

    with pytest.raises(FileError, match=damage):
        CaseStore(tmp_path)["case_1"]


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    os.truncate(tmp_path / "case_1.b2nd", 1000)

    with pytest.raises(FileError, match=r"case_1\.b2nd: cannot be opened"):
        CaseStore(tmp_path)["case_1"]


def test_a_damaged_older_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.npz").write_bytes(b"PK\x03\x04")

    with pytest.raises(FileError, match=r"old\.npz: damaged"):
        CaseStore(tmp_path)["old"]


def test_properties_must_be_properties(tmp_path: Path) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    (tmp_path / "case_1.pkl").write_bytes(pickle.dumps([1]))

    with pytest.raises(FileError, match="holds a list"):
        CaseStore(tmp_path)["case_1"]


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        CaseStore(tmp_path / "nowhere")


FILL_THE_DISK = """
import resource, sys
from resenc_plans.errors import FileError
from resenc_plans.preprocessing.store.case_store import write_case
from tests.preprocessing.store.cases import PATCH, case
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_case(sys.argv[1], "case_1", case((1, 64, 64, 64), seed=1), PATCH)
except FileError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_is_told_and_nothing_is_changed(tmp_path: Path) -> None:
    before = case()
    write_case(tmp_path, "case_1", before, PATCH)

    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "case_1.b2nd: not written, it is larger than this process may write" in done.stdout
    np.testing.assert_array_equal(CaseStore(tmp_path)["case_1"].image[:], before.image)
    assert list((tmp_path / ".resenc-plans" / "staging").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_no_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(FileError, match="no permission to write"):
        write_case(tmp_path, "case_1", case(), PATCH)


@pytest.mark.parametrize("name", ["", "..", "../case_1", "/tmp/case_1", "a\\b"])
def test_a_case_is_a_file_of_its_store(tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    write_case(tmp_path, "case_1", case(), PATCH)
    with pytest.raises(FileError, match="cannot name a file"):
        CaseStore(store)[name]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match="cannot name a file"):
        write_case(store, name, case(), PATCH)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("exception", [RuntimeError, OverflowError, SyntaxError, MemoryError])
def test_whatever_blosc2_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exception: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise exception("deep inside")

    write_case(tmp_path, "case_1", case(), PATCH)
    image, _ = CaseStore(tmp_path).arrays("case_1")
    monkeypatch.setattr(blosc2.NDArray, "__getitem__", fail)
    with pytest.raises(FileError, match=r"case_1\.b2nd: cannot be read \(deep inside"):
        image[:, :2]
    monkeypatch.setattr(blosc2, "open", fail)
    with pytest.raises(FileError, match=r"case_1\.b2nd: cannot be opened \(deep inside"):
        CaseStore(tmp_path).arrays("case_1")


def test_an_array_larger_than_any_case_is_not_opened(tmp_path: Path) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    (tmp_path / "case_1.b2nd").unlink()
    blosc2.zeros((1, 2**20, 2**20, 2), np.float32, urlpath=str(tmp_path / "case_1.b2nd"))
    with pytest.raises(FileError, match=r"case_1\.b2nd: cannot be opened"):
        CaseStore(tmp_path)["case_1"]


def test_an_array_that_claims_more_than_it_holds_is_not_opened(tmp_path: Path) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    labels = tmp_path / "case_1_seg.b2nd"
    shape = CaseStore(tmp_path)["case_1"].labels.shape
    stored, claimed = (
        b"".join(b"\xd3" + size.to_bytes(8, "big") for size in sizes)
        for sizes in (shape, (2**21 + 1, *shape[1:]))
    )
    content = labels.read_bytes()
    assert stored in content
    labels.write_bytes(content.replace(stored, claimed))
    with pytest.raises(FileError, match=r"case_1_seg\.b2nd: .*values that its header claims"):
        CaseStore(tmp_path)["case_1"]


@pytest.mark.parametrize("places", [{1: "x"}, {1: np.zeros((3, 3), int)}, {1: np.ones((2, 4))}])
def test_class_locations_of_another_kind_are_named(tmp_path: Path, places: object) -> None:
    write_case(tmp_path, "case_1", case(), PATCH)
    (tmp_path / "case_1.pkl").write_bytes(pickle.dumps({"class_locations": places}))
    with pytest.raises(FileError, match=r"case_1\.pkl: has no class_locations"):
        CaseStore(tmp_path).class_locations("case_1")


@pytest.mark.parametrize("content", [b"no array", b"words"])
def test_an_older_archive_without_numbers_is_named(tmp_path: Path, content: bytes) -> None:
    np.savez(tmp_path / "old.npz", data=np.ones((1, 2, 2, 2)), seg=np.array(["a"]))
    if content == b"no array":
        with zipfile.ZipFile(tmp_path / "old.npz", "w") as archive:
            archive.writestr("data.npy", content)
    with pytest.raises(FileError, match=r"old\.npz: damaged .* Preprocess the case again"):
        CaseStore(tmp_path).arrays("old")


def test_an_array_of_other_dimensions_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", data=np.ones((2, 2, 2)), seg=np.ones((1, 2, 2, 2)))
    with pytest.raises(FileError, match=r"old: has the shape \(2, 2, 2\), not \(channels, z, y, x"):
        CaseStore(tmp_path)["old"]


def test_class_locations_that_hold_themselves_many_times_are_not_unfolded(tmp_path: Path) -> None:
    places: list[Any] = [1]
    for _ in range(7):
        places = [places] * 10
    write_case(tmp_path, "case_1", case(), PATCH)
    (tmp_path / "case_1.pkl").write_bytes(pickle.dumps({"class_locations": {1: places}}))
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=r"case_1\.pkl: has no class_locations"):
            CaseStore(tmp_path).class_locations("case_1")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
