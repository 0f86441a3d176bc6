"""A case's segmentation on disk: either complete or absent."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from resenc_plans.datasets.images.images import read_label, write_label
from resenc_plans.errors import DatasetError
from resenc_plans.execution.unfinished import unfinished_folder
from resenc_plans.files import is_zip, move, part_of_path, writing
from resenc_plans.folders import SUMMARY_JSON


def segmentation_file(folder: Path, case: str, ending: str) -> Path:
    """The file of a case's segmentation in a folder.

    Raises
    ------
    FileError
        Case and file ending together are not the name of a file.
    """
    return folder / part_of_path(case, "case", ending=ending)


def remove_old_summary(folder: Path, written: Iterable[Path]) -> str | None:
    """Remove a summary.json where segmentations that it describes will be replaced.

    Parameters
    ----------
    folder
        Holds the segmentations.
    written
        Those that will be written.

    Returns
    -------
    A sentence about it; None where nothing is removed.

    Raises
    ------
    FileError
        It cannot be removed.
    """
    summary = folder / SUMMARY_JSON
    if not summary.exists() or not any(path.exists() for path in written):
        return None
    with writing(summary):
        summary.unlink(missing_ok=True)
    return f"{summary}: is removed, since its segmentations are replaced."


def write_segmentation(
    labels: npt.NDArray[Any], path: str | os.PathLike[str], properties: Mapping[str, Any]
) -> None:
    """Write a segmentation (z, y, x) with `write_label` to a temporary file, then rename that.

    Raises
    ------
    DatasetError
        It cannot be written in this format.
    FileError
        The folder does not exist or is not writable, or the disk is full. An existing file is
        unchanged.
    """
    path = Path(path)
    with writing(path), unfinished_folder(path.parent) as staging:
        staged = staging / path.name
        try:
            with writing(path, staged):
                write_label(labels, staged, properties)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(staged), str(path))) from None
        others = [other for other in staging.iterdir() if other != staged]
        for file in (*others, staged):
            _sync(file)
            move(file, path.parent / file.name)


def is_whole(path: Path, *, probabilities: bool) -> bool:
    """Whether the segmentation `path` is readable, and with `probabilities` its .npz as well."""
    if not path.is_file():
        return False
    if probabilities:
        npz = npz_of(path)
        if not is_zip(npz) or not npz.with_suffix(".pkl").is_file():
            return False
    try:
        read_label(path)
    except DatasetError:
        return False
    return True


def npz_of(path: Path) -> Path:
    """The file of a segmentation's probabilities.

    >>> npz_of(Path("out/case.1.nii.gz")).name
    'case.1.npz'
    """
    name = path.name.removesuffix(".gz")
    return path.parent / f"{name[: name.rindex('.')]}.npz"


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
