"""Properties are read from pickles without running what these say."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans.errors import FileError
from resenc_plans.safe_pickle import dump_pickle, load_pickle


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_are_read(tmp_path: Path, protocol: int) -> None:
    properties = {
        "spacing": [np.float64(1.5), np.float32(2), 3, 4.5],
        "shape": (1, 2, 3),
        "bytes": b"\x00\xff",
        "class_locations": {1: np.arange(12).reshape(3, 4), (1, 2): [], -1: np.zeros((0, 4))},
        "objects": np.array([None, "text"], dtype=object),
        "set": {1, 2},
    }
    path = tmp_path / "case.pkl"
    path.write_bytes(pickle.dumps(properties, protocol))

    read = load_pickle(path)

    np.testing.assert_equal(read, properties)


def test_what_we_write_we_read(tmp_path: Path) -> None:
    path = tmp_path / "case.pkl"
    path.write_bytes(dump_pickle({"a": np.ones(3)}))

    np.testing.assert_equal(load_pickle(path), {"a": np.ones(3)})


def test_anything_else_is_refused_by_name_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "case.pkl"
    path.write_bytes(pickle.dumps(Harmful()))

    with pytest.raises(FileError, match=r"case\.pkl: asks to load (builtins|__builtin__)\.print"):
        load_pickle(path)

    assert capsys.readouterr().out == ""


def test_other_codecs_than_latin1_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vtext\nVrot13\ntR.")

    with pytest.raises(FileError, match="the codec rot13"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": "b" * 99})[:-20]])
def test_damage_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "case.pkl"
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"case\.pkl: damaged"):
        load_pickle(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        load_pickle(tmp_path / "case.pkl")


@pytest.mark.parametrize("kind", ["bytes", "bytearray"])
def test_a_pickle_cannot_ask_for_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "case.pkl"
    path.write_bytes(f"c__builtin__\n{kind}\n(L100000000000L\ntR.".encode())

    with pytest.raises(FileError, match="asks to load bytes"):
        load_pickle(path)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04Nr" + (1 << 22).to_bytes(4, "little") + b".",
        b"\x80\x04Np4194304\n.",
        b"Np 4194304\n.",
    ],
)
def test_a_pickle_cannot_ask_for_a_memo_larger_than_itself(tmp_path: Path, program: bytes) -> None:
    """Python's unpickler makes room for as many objects as a pickle of twenty bytes says."""
    path = tmp_path / "case.pkl"
    path.write_bytes(program)
    with pytest.raises(FileError, match=r"case\.pkl: damaged, or no pickle: .*memo"):
        load_pickle(path)


def test_bytes_that_look_like_such_a_request_are_read(tmp_path: Path) -> None:
    content = {"a": b"r\xff\xff\xff\xffp999999999\n", "b": np.frombuffer(b"rrrrrrrr", np.int64)}
    path = tmp_path / "case.pkl"
    path.write_bytes(dump_pickle(content))
    np.testing.assert_equal(load_pickle(path), content)
