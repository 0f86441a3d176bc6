"""The folder of a store during a run: one run at a time, and no unfinished files left."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resenc_plans.errors import FileError
from resenc_plans.preprocessing.store.case_store import OWN_FOLDER, STAGING, SUFFIXES

_OLDER_SUFFIXES = (".npz", ".npy", "_seg.npy")


@contextmanager
def open_for_writing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Create the store if needed, keep other runs out, and remove what a killed run left.

    Raises
    ------
    FileError
        The folder cannot be created or written to, or another run is writing to it.
    """
    folder = Path(folder).absolute()
    try:
        (folder / OWN_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be created: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"{folder}: no permission to write to it.")
    with _locked(folder):
        _clear_staging(folder)
        try:
            yield folder
        finally:
            _clear_staging(folder)


def remove_case(folder: Path, name: str) -> None:
    """Delete all files of a case, the image first, so that an incomplete case is never listed."""
    for suffix in (*SUFFIXES, *_OLDER_SUFFIXES):
        try:
            (folder / (name + suffix)).unlink(missing_ok=True)
        except OSError as error:
            raise FileError(
                f"{folder / (name + suffix)}: is out of date, but cannot be removed: "
                f"{error.strerror}."
            ) from None


def _clear_staging(folder: Path) -> None:
    shutil.rmtree(folder / OWN_FOLDER / STAGING, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock if the system has such locks; it ends with the process."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileError(
                    f"{folder}: another run is preprocessing into this folder. Wait for it to end."
                ) from None
        yield
    finally:
        os.close(descriptor)
