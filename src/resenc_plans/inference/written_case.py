"""A case's files in the output folder: there and whole, or not there."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resenc_plans.datasets.images import Array, read_label, write_label
from resenc_plans.errors import DatasetError, FileError


def write_label_whole(array: Array, path: Path, properties: Mapping[str, Any]) -> None:
    """`write_label`, such that `path` appears only when all of it is on the disk.

    Raises
    ------
    DatasetError, FileError
        The file cannot be written; what was there before is unchanged.
    """
    try:
        with TemporaryDirectory(prefix=".writing-", dir=path.parent) as name:
            beside = Path(name)
            write_label(array, beside / path.name, properties)
            for file in sorted(beside.iterdir(), key=lambda file: file.name == path.name):
                _sync(file)
                file.replace(path.parent / file.name)
    except OSError as error:
        raise FileError(f"{path}: not written: {error.strerror or error}.") from None


def is_whole(path: Path, *, probabilities: bool) -> bool:
    """Whether the segmentation `path` is there and readable, and its .npz if that is wanted."""
    if not path.is_file():
        return False
    if probabilities:
        npz = npz_of(path)
        if not zipfile.is_zipfile(npz) or not npz.with_suffix(".pkl").is_file():
            return False
    try:
        read_label(path)
    except DatasetError:
        return False
    return True


def npz_of(path: Path) -> Path:
    """Where a segmentation's probabilities lie.

    >>> npz_of(Path("out/case.1.nii.gz")).name
    'case.1.npz'
    """
    name = path.name.removesuffix(".gz")
    return path.parent / f"{name[: name.rindex('.')]}.npz"


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
