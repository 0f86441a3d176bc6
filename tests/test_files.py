"""Files are written whole or not at all, and never outside of their folder."""

import errno
import os
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.errors import FileError, shown
from resenc_plans.execution.changes import changes
from resenc_plans.files import (
    MAX_JSON_VALUES,
    MAX_PART_BYTES,
    append,
    check_regular,
    fault_of_part,
    followed,
    inside,
    open_regular,
    parse_json,
    part_of_path,
    put_in_place,
    read_bytes,
    read_json,
    replace_file,
    replace_folder,
    user_path,
    why_not_written,
    write_json,
    writing,
)
from resenc_plans.folders import find_dataset_folder
from resenc_plans.safe_pickle import load_pickle

AWKWARD = st.sampled_from(["..", ".", "/", "\\", "C:", "CON", "nul", ".txt", " ", "\0", "~", "ü"])
NAMES = st.one_of(st.text(max_size=12), st.lists(AWKWARD, max_size=5).map("".join))


@pytest.mark.parametrize("name", ["a" * 251 + ".npz", "患" * 80 + ".nii.gz"])
def test_a_name_may_be_as_long_as_the_system_lets_it(tmp_path: Path, name: str) -> None:
    with replace_file(tmp_path / name) as stream:
        stream.write(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_too_long_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not written"), replace_file(tmp_path / ("a" * 256)):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "empty"),
        (".", "another folder"),
        ("..", "another folder"),
        ("../x", "has a slash"),
        ("/etc", "has a slash"),
        ("a\\b", "has a backslash"),
        ("C:", "letter of a drive"),
        ("c:x", "letter of a drive"),
        ("a\nb", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\0", "control characters"),
        ("CON", "device"),
        ("nul.tar.gz", "device"),
        ("Com1 .json", "device"),
        ("LPT¹", "device"),
        ("case.", "ends with"),
        ("case ", "ends with"),
        ("a" * (MAX_PART_BYTES + 1), "201 bytes"),
        ("患" * 67, "201 bytes"),
        ("\ud800", "no file system"),
    ],
)
def test_a_name_that_leads_elsewhere_or_that_a_system_lacks_is_refused(
    name: str, words: str
) -> None:
    with pytest.raises(FileError, match=words) as error:
        part_of_path(name, "data_identifier")
    assert str(error.value).startswith("data_identifier ")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "name",
    [
        "Dataset004_Hippocampus",
        "nnUNetTrainer__nnUNetResEncUNetLPlans__3d_fullres",
        "case 1.5T (a)",
        "-f",
        ".hidden",
        "患者_001",
        "console",
        "a" * MAX_PART_BYTES,
        "2026-01-01T10:00",
    ],
)
def test_names_that_datasets_have_are_left_as_they_are(name: str) -> None:
    assert part_of_path(name, "case") == name


def test_an_ending_counts_as_part_of_the_name() -> None:
    assert part_of_path("case.", "case", ending=".nii.gz") == "case..nii.gz"
    for name, ending in (("", ".pkl"), ("case", "/../x.nii.gz"), ("aux", ".nii.gz"), ("a", ".")):
        with pytest.raises(FileError):
            part_of_path(name, "case", ending=ending)


@given(NAMES)
def test_what_is_allowed_names_something_directly_in_the_folder_on_every_system(name: str) -> None:
    if fault_of_part(name) is not None:
        with pytest.raises(FileError):
            part_of_path(name, "case")
        return
    part = part_of_path(name, "case")
    for folder in (PurePosixPath("/data/store"), PureWindowsPath("D:\\data\\store")):
        path = folder / part
        assert path.parent == folder
        assert path.name == part == name


@given(NAMES, NAMES)
def test_what_is_allowed_with_an_ending_is_allowed_as_a_whole(name: str, ending: str) -> None:
    try:
        part = part_of_path(name, "case", ending=ending)
    except FileError:
        return
    assert fault_of_part(part) is None
    assert part == name + ending


def test_a_root_may_be_a_link_and_what_is_in_it_need_not_exist(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "Dataset004_Hippocampus"
    link.symlink_to(tmp_path / "disk")
    assert inside(link, link / "store" / "case.pkl") == link / "store" / "case.pkl"
    (tmp_path / "disk/other").mkdir()
    (link / "store").symlink_to("other")
    assert inside(link, link / "store") == link / "store"


def test_a_link_that_leads_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "Dataset004_Hippocampus"
    root.mkdir()
    (root / "store").symlink_to(tmp_path)
    (root / "gone").symlink_to("../nowhere")
    (root / "circle").symlink_to("circle")
    for path in (root / "store", root / "store" / "x", root / "gone", root / ".." / "x"):
        with pytest.raises(FileError, match="outside of"):
            inside(root, path)
    with pytest.raises(FileError, match="cannot be followed"):
        inside(root, root / "circle")


def test_a_link_is_replaced_by_the_file_and_followed_only_where_that_is_asked(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "link.json").symlink_to("mine.json")
    write_json(tmp_path / "link.json", {})
    assert (tmp_path / "mine.json").read_text() == "mine"
    assert not (tmp_path / "link.json").is_symlink()
    (tmp_path / "plans.json").symlink_to("mine.json")
    write_json(tmp_path / "plans.json", {}, follow_links=True)
    assert (tmp_path / "mine.json").read_text() == "{}"
    assert (tmp_path / "plans.json").is_symlink()


def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path: Path) -> None:
    for name in ("mine", "new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "from").write_text(name)
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / "gone").symlink_to("nowhere")
    put_in_place(tmp_path / "new", tmp_path / "link")
    put_in_place(tmp_path / "other", tmp_path / "gone")
    assert (tmp_path / "link" / "from").read_text() == "new"
    assert (tmp_path / "gone" / "from").read_text() == "other"
    assert (tmp_path / "mine" / "from").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone", "link", "mine"]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo.json"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [read_json, check_regular, open_regular, load_pickle])
def test_only_regular_files_are_read(
    tmp_path: Path, fifo: Path, read: Callable[[Path], object]
) -> None:
    circle = tmp_path / "circle.json"
    circle.symlink_to(circle)
    for path, words in (
        (fifo, "is a FIFO"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path, "is a folder"),
        (circle, "lead in a circle"),
        (tmp_path / "none.json", "no such file"),
        (tmp_path / "a\0b", "cannot be the name"),
    ):
        with pytest.raises(FileError, match=words):
            read(path)


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert read_json(tmp_path / "b.json") == [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":\n' + "9" * 5000 + "}", "the integer at line 2 has more than 4300 digits"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ('{"a":' * 800 + "1" + "}" * 800, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "0," * MAX_JSON_VALUES + "0]", "has more than 8,000,000 values"),
        ('{"' + "k" * 10**6 + '": 1, "' + "k" * 10**6 + '": 1}', "occurs twice"),
    ],
)
def test_json_that_python_cannot_handle_is_an_error_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "silly.json"
    path.write_text(text)
    with pytest.raises(FileError, match=words) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n\n"a": 2}', "the key 'a' occurs twice, at lines 1 and 3."),
        ('{"a": {"b": [{"c": "a", "x": 1,\n"x": 2}]}}', "'x' of 'a.b' occurs twice, at lines 1"),
        ('{"a": {"x": 1}, "b": [{"x": 1}, {"x": 2}],\n"c": {"a": "a:", "\\u0061": 1}}', "of 'c' "),
        ('[{"a": {}, "a": {}}]', "the key 'a' occurs twice, at line 1. Remove one"),
    ],
)
def test_a_key_that_occurs_twice_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(FileError) as error:
        parse_json(text, "plans.json")
    assert words in str(error.value)


def test_json_within_the_limits_is_read() -> None:
    assert parse_json("9" * 4300, "a") == int("9" * 4300)
    assert parse_json("[" * 64 + "]" * 64, "a")


def test_a_file_larger_than_allowed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"12345")
    assert read_bytes(tmp_path / "large", 5) == b"12345"
    with pytest.raises(FileError, match="larger than"):
        read_bytes(tmp_path / "large", 4)


@given(st.text() | st.lists(st.text(min_size=200), max_size=30), st.integers(10, 100))
def test_a_value_in_a_message_fits_on_a_line(value: object, width: int) -> None:
    assert len(shown(value, width).encode("unicode_escape")) <= 12 * width
    assert "\n" not in shown(value, width)


def test_no_message_is_endless_and_its_end_stays() -> None:
    for name in ("x" * 10**6, "x " * 10**6):
        message = str(FileError(f"a.json: the key {name} is unknown. Remove it.\nSecond line."))
        assert len(message) < 2500
        assert message.endswith("is unknown. Remove it.\nSecond line.")
    assert str(FileError("\n".join(["case_001: damaged."] * 1000))).count("\n") == 999


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('{"a": 1, // mine\n "b": 2}', "line 1, column 10: JSON has no comments. Remove this one."),
        ('{"a": 1\n "b": 2}', "line 2, column 2: a comma is missing between this and what stands"),
        ("{'a': 1}", "line 1, column 2: a text stands in single quotes. Put it in double quotes"),
        ('{"a": None}', "line 1, column 7: None is Python's word. Write null."),
        ('{"a": [20', "line 1, column 10: the file ends too early: was it truncated?"),
        ('{"a": "b', "line 1, column 7: the file ends too early: was it truncated?"),
        ('{"a": [True]}', "line 1, column 8: True is Python's word. Write true."),
    ],
)
def test_slips_of_an_editor_are_named_with_their_remedy(text: str, remedy: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_json(text, "plans.json")
    assert remedy in str(caught.value)


@pytest.mark.parametrize("text", ['{"a": 1,\n}', '{"a": [1, 2, ]}'])
def test_a_comma_too_many_is_called_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(
        FileError, match=r"line \d, column \d+: there is a comma before []}]\. Remove"
    ):
        read_json(path)


def test_what_cannot_be_read_is_not_taken_for_what_cannot_be_written(tmp_path: Path) -> None:
    denied = partial(OSError, errno.EACCES, "Permission denied")
    source = str(tmp_path / "weights")
    message = why_not_written(tmp_path / "model.zip", denied(source))
    assert f"model.zip: not written, since {source} cannot be read" in message
    message = why_not_written(tmp_path / "model.zip", denied(str(tmp_path / ".1234.tmp")))
    assert "model.zip: not written, no permission to write there" in message


def write_by_a_library(path: Path, unfinished: Path, fault: str) -> None:
    """As ITK and blosc2 do it, which say that something failed, but not what."""
    with writing(path, unfinished):
        raise RuntimeError(fault)


def write_to_a_stream(path: Path) -> None:
    """As torch does it."""
    with replace_file(path) as stream:
        with suppress(OSError):
            stream.write(bytes(10**6))
        raise RuntimeError("unexpected pos")


def test_the_reason_that_a_library_hides_is_found(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    image, unfinished = tmp_path / "image", tmp_path / "unfinished"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(FileError, match="image: not written, it is larger than"):
            write_by_a_library(image, unfinished, "ERROR in compression")
        with pytest.raises(FileError, match="weights: not written, it is larger than"):
            write_to_a_stream(tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(RuntimeError, match="its own fault"):
        write_by_a_library(image, unfinished, "its own fault")


def fail_within(context: AbstractContextManager[object]) -> None:
    with pytest.raises(KeyError), context:
        raise KeyError


def test_only_what_is_in_its_place_counts_as_a_change(tmp_path: Path) -> None:
    before = changes()
    fail_within(replace_file(tmp_path / "file"))
    fail_within(replace_folder(tmp_path / "folder"))
    assert changes() == before
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "file", {})
    append(tmp_path / "file", b" ")
    with replace_folder(tmp_path / "folder") as folder:
        (folder / "file").touch()
    assert changes() == before + 3


def test_a_line_that_does_not_fit_is_not_there_in_part(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "lines"
    append(path, b"first\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(FileError, match="lines: not written"):
            append(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append(path, b"last\n")
    assert path.read_bytes() == b"first\nlast\n"


def test_a_folder_that_cannot_be_synced_does_not_make_a_written_file_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse_folders(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse_folders)
    write_json(tmp_path / "file", {})
    assert (tmp_path / "file").read_text() == "{}"


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "a\0b", "a\ud800b"])
def test_a_path_that_no_file_can_have_is_an_error_in_words(path: str) -> None:
    for read in (user_path, find_dataset_folder):
        with pytest.raises(FileError, match=r"not known|no file system"):
            read(path)


def test_home_folders_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == tmp_path / "a"
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(FileError, match="cannot be followed"):
        followed(tmp_path / "link")
