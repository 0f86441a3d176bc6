"""SimpleITK: loaded on first use, and given one file at a time to read.

SimpleITK 2.5 keeps the path of the file that it reads in one string for all threads. Two threads
that read at the same time free that string twice when a longer path needs more room, which ends the
process. So a lock is held while ITK reads.
"""

import os
import threading
from pathlib import Path
from typing import Any

from resenc_plans.errors import DatasetError

ItkImage = Any
"""A SimpleITK image. The library has no types, and is imported only when an image is read."""
ItkReader = Any
"""A SimpleITK reader of one file."""

_READING = threading.Lock()


def simpleitk() -> Any:
    """The module SimpleITK, loaded on first use: it takes a tenth of a second."""
    import SimpleITK

    return SimpleITK


def itk_name(path: Path) -> str:
    """The path for SimpleITK, which would end the process at a name that is not valid UTF-8.

    Raises
    ------
    DatasetError
        The name is not valid UTF-8.
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        readable = os.fspath(path).encode("utf-8", "backslashreplace").decode()
        raise DatasetError(f"{readable}: the name is not valid UTF-8. Rename the file.") from None


def read_header(path: Path, image_io: str = "") -> ItkReader:
    """A reader that knows the size, the type and the position of an image, but not its voxels.

    `image_io` is the name of the ITK class that reads the format; by default ITK tries each.

    Raises
    ------
    DatasetError
        The name is not valid UTF-8.
    RuntimeError
        ITK cannot read the header.
    """
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(itk_name(path))
    with _READING:
        reader.ReadImageInformation()
    return reader


def read_voxels(reader: ItkReader) -> ItkImage:
    """The image of which `reader` has read the header.

    Raises
    ------
    RuntimeError
        ITK cannot read the voxels.
    """
    with _READING:
        return reader.Execute()


def read_whole(path: Path) -> ItkImage:
    """The image of a file of any format that ITK knows.

    Raises
    ------
    DatasetError
        The name is not valid UTF-8.
    RuntimeError
        ITK cannot read the file.
    """
    name = itk_name(path)
    with _READING:
        return simpleitk().ReadImage(name)
