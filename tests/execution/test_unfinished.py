"""What killed processes leave half-written is removed, what living ones write is not."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from resenc_plans.execution.unfinished import (
    SECONDS_UNTIL_STALE,
    moved_aside,
    remove_unfinished,
    unfinished_file,
    unfinished_folder,
)

WRITE = """
import pathlib, sys
from resenc_plans.execution import unfinished
with getattr(unfinished, sys.argv[2])(pathlib.Path(sys.argv[1])) as path:
    print(path, flush=True)
    sys.stdin.read()
"""

REPLACE = """
import os, pathlib, sys
from resenc_plans.execution.unfinished import moved_aside
target = pathlib.Path(sys.argv[1])
with moved_aside(target):
    if sys.argv[2] == "after":
        target.mkdir()
        (target / "new").touch()
    os._exit(1)
"""


@contextmanager
def another_process(folder: Path, kind: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """One that is writing a file or a folder, and the path of that."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


@pytest.mark.parametrize("kind", ["unfinished_file", "unfinished_folder"])
def test_what_is_being_written_stays_until_its_process_is_killed(tmp_path: Path, kind: str) -> None:
    with another_process(tmp_path, kind) as (process, path):
        remove_unfinished(tmp_path)
        assert path.exists()
        process.kill()
        process.wait()
        assert path.exists()
        with unfinished_file(tmp_path):
            assert not path.exists()
    assert not list(tmp_path.iterdir())


def test_two_threads_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with unfinished_folder(tmp_path) as one, unfinished_file(tmp_path) as two:
        remove_unfinished(tmp_path)
        assert one.is_dir()
        assert two.is_file()


def test_what_another_host_has_left_goes_after_a_day(tmp_path: Path) -> None:
    file, folder = (tmp_path / f".{digit * 24}.tmp" for digit in "ab")
    file.touch()
    folder.mkdir()
    remove_unfinished(tmp_path)
    assert {file, folder} == set(tmp_path.iterdir())
    for path in (file, folder):
        os.utime(path, (time.time(), time.time() - SECONDS_UNTIL_STALE - 60))
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())


def test_all_goes_where_nobody_else_writes(tmp_path: Path) -> None:
    (tmp_path / f".{'a' * 24}.tmp").touch()
    remove_unfinished(tmp_path, sole=True)
    assert not list(tmp_path.iterdir())


def test_files_of_others_stay(tmp_path: Path) -> None:
    names = [".cache.tmp", "a.tmp", f".{'a' * 23}.tmp", f".{'a' * 24}.tmp.txt"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    remove_unfinished(tmp_path, sole=True)
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    (tmp_path / f".{'a' * 24}.tmp").symlink_to(target)
    remove_unfinished(tmp_path, sole=True)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "file").exists()


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(("moment", "there"), [("before", "old"), ("after", "new")])
def test_what_a_killed_process_has_moved_aside_returns_unless_it_is_replaced(
    tmp_path: Path, moment: str, there: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    subprocess.run([sys.executable, "-c", REPLACE, str(tmp_path / "model"), moment], check=False)
    assert names_in(tmp_path) != {"model", f"model/{there}"}
    with unfinished_file(tmp_path):
        assert (tmp_path / "model" / there).exists()
    assert names_in(tmp_path) == {"model", f"model/{there}"}


def test_what_is_moved_aside_returns_when_the_block_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with suppress(KeyboardInterrupt), moved_aside(tmp_path / "model"):
        remove_unfinished(tmp_path)
        assert not (tmp_path / "model").exists()
        raise KeyboardInterrupt
    assert names_in(tmp_path) == {"model"}
