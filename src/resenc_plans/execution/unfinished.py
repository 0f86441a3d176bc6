"""Files and folders that are being written, under names of their own until they are whole.

What a killed process leaves of them is removed by the next one that writes to the same folder. A
process has a lock of the system on what it writes, which ends with the process, so that nothing is
taken from one that lives. Hosts may not see each other's locks on a file system that they share:
what another host has left is removed when nobody has written to it for a day.

What is replaced is kept beside them until the new one is in its place; if a process is killed
before that, the next one restores it.
"""

import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

SECONDS_UNTIL_STALE = 24 * 3600
"""After which what cannot be locked counts as left."""

_NEW, _OLD = "tmp", "old"
_NAME = re.compile(rf"\.([0-9a-f]{{8}})[0-9a-f]{{16}}\.({_NEW}|{_OLD})")


@contextmanager
def unfinished_file(folder: Path) -> Iterator[Path]:
    """A new, empty file, which the block writes and renames; else it is removed.

    Raises
    ------
    OSError
        It cannot be made.
    """
    with _unfinished(folder, _make_file) as path:
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A new folder within `folder`, for files that the block writes and renames out of it.

    Raises
    ------
    OSError
        It cannot be made.
    """
    with _unfinished(folder, _make_folder) as path:
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def moved_aside(target: Path) -> Iterator[None]:
    """Move a file or folder away for the block, which puts another one in its place.

    It is removed afterwards. It returns if there is none in its place by then, or the process is
    killed before.

    Raises
    ------
    OSError
        It cannot be moved.
    """
    with _unfinished(target.parent, _make_folder, _OLD) as holder:
        try:
            target.rename(holder / target.name)
            yield
        finally:
            _settle(holder)


def remove_unfinished(folder: Path, *, sole: bool = False) -> None:
    """Remove what processes that are gone have left in a folder, and restore what they moved aside.

    `sole` says that no other process may be writing to the folder, so that everything is left.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _NAME.fullmatch(entry.name)
            if match is not None:
                with suppress(OSError):
                    _clear(Path(entry.path), is_ours=match[1] == _host(), sole=sole)


@cache
def _remove_once(folder: Path) -> None:
    """Remove what is left, before this process first writes to the folder."""
    remove_unfinished(folder)


def _clear(path: Path, *, is_ours: bool, sole: bool) -> None:
    """Remove a file or folder if nobody is writing it, or restore what is in it."""
    is_folder = path.is_dir() and not path.is_symlink()
    is_stale = sole or time.time() - path.lstat().st_mtime > SECONDS_UNTIL_STALE
    lock = None
    if is_ours and not sole and sys.platform != "win32":
        lock = os.open(path, (os.O_RDONLY if is_folder else os.O_RDWR) | os.O_NOFOLLOW)
        is_locked = _lock(lock)
        is_stale = is_stale if is_locked is None else is_locked
    try:
        if is_stale and path.suffix == f".{_OLD}":
            _settle(path)
        elif is_stale and is_folder:
            shutil.rmtree(path, ignore_errors=True)
        elif is_stale:
            path.unlink(missing_ok=True)
    finally:
        if lock is not None:
            os.close(lock)


def _settle(holder: Path) -> None:
    """Move back what was moved aside, unless another is in its place, and remove the rest."""
    for entry in holder.iterdir():
        if not os.path.lexists(holder.parent / entry.name):
            entry.rename(holder.parent / entry.name)
    shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def _unfinished(
    folder: Path, make: Callable[[Path], int | None], ending: str = _NEW
) -> Iterator[Path]:
    """A path of a new name, made and locked by `make`, which returns what it has opened.

    Another process may take what is new for left, and remove it, before it is locked: then there
    is another try.
    """
    _remove_once(folder.absolute())
    while True:
        path = folder / _new_name(ending)
        lock = make(path)
        if path.exists():
            break
        if lock is not None:
            os.close(lock)
    try:
        yield path
    finally:
        if lock is not None:
            os.close(lock)


def _make_file(path: Path) -> int | None:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    if sys.platform == "win32":  # where an open file cannot be renamed
        os.close(lock)
        return None
    _lock(lock, wait=True)
    return lock


def _make_folder(path: Path) -> int | None:
    path.mkdir()
    if sys.platform == "win32":
        return None
    with suppress(FileNotFoundError):
        lock = os.open(path, os.O_RDONLY)
        _lock(lock, wait=True)
        return lock
    return None


def _new_name(ending: str) -> str:
    return f".{_host()}{secrets.token_hex(8)}.{ending}"


def _lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file; False if another has it locked, None where the system cannot lock it."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@cache
def _host() -> str:
    """Eight digits that tell this host from others."""
    name = socket.gethostname()
    with suppress(OSError):
        name += Path("/etc/machine-id").read_text(encoding="utf-8")
    return hashlib.sha256(name.encode()).hexdigest()[:8]
