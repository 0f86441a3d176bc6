"""The folder of a store during a run: one run at a time, and no unfinished files left."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resenc_plans.errors import FileError
from resenc_plans.execution.changes import note_change
from resenc_plans.execution.locks import HeldLock, lock
from resenc_plans.files import inside, make_folder, part_of_path
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.store.case_store import OWN_FOLDER, STAGING, SUFFIXES, case_file
from resenc_plans.preprocessing.store.manifest import MANIFEST

_LOCK = "lock"
_OLDER_SUFFIXES = (".npz", ".npy", "_seg.npy")


def store_folder(preprocessed: Path, config: ResolvedConfiguration) -> Path:
    """The folder of a configuration's stored cases, in a preprocessed dataset.

    Raises
    ------
    FileError
        The data identifier is not the name of a folder.
    """
    return preprocessed / part_of_path(config.data_identifier, "data_identifier")


@contextmanager
def open_for_writing(folder: Path) -> Iterator[HeldLock]:
    """Create the store if needed, keep other runs out, and remove what a killed run left.

    The lock is for those that work for this run; `folder` is absolute.

    Raises
    ------
    LockedError
        Another run is writing to the folder.
    FileError
        The folder cannot be created or written to, or what belongs into it lies elsewhere, behind
        a symbolic link.
    """
    for path in (OWN_FOLDER, f"{OWN_FOLDER}/{STAGING}", f"{OWN_FOLDER}/{MANIFEST}"):
        inside(folder, folder / path)
    make_folder(folder / OWN_FOLDER)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"{folder}: no permission to write to it.")
    with lock(folder / OWN_FOLDER / _LOCK, folder) as run:
        _clear_staging(folder)
        try:
            yield run
        finally:
            _clear_staging(folder)


def remove_case(folder: Path, name: str) -> None:
    """Delete all files of a case, the image first, so that an incomplete case is never listed."""
    for suffix in (*SUFFIXES, *_OLDER_SUFFIXES):
        path = case_file(folder, name, suffix)
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FileError(
                f"{path}: is out of date, but cannot be removed: {error.strerror}."
            ) from None
        note_change()


def _clear_staging(folder: Path) -> None:
    shutil.rmtree(folder / OWN_FOLDER / STAGING, ignore_errors=True)
