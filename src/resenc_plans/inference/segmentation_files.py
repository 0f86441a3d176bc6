"""Segmentations are written whole or not at all."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from resenc_plans.datasets.images import write_label
from resenc_plans.errors import DatasetError, FileError


def write_segmentation(
    labels: npt.NDArray[Any], path: str | os.PathLike[str], properties: Mapping[str, Any]
) -> None:
    """Write a segmentation (z, y, x) as `write_label` does, beside its place, then put it there.

    Raises
    ------
    DatasetError
        It cannot be written in this format.
    FileError
        The folder does not exist or is not writable.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as staging:
            staged = Path(staging) / path.name
            try:
                write_label(labels, staged, properties)
            except DatasetError as error:
                raise DatasetError(str(error).replace(str(staged), str(path))) from None
            others = [other for other in Path(staging).iterdir() if other != staged]
            for file in (*others, staged):
                file.replace(path.parent / file.name)
    except OSError as error:
        raise FileError(f"{path}: not written: {error.strerror or error}.") from error
