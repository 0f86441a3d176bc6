"""One array in an .npz file, written and read piece by piece."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from resenc_plans.errors import FileError, first_line, shown
from resenc_plans.files import check_regular, replace_file
from resenc_plans.words import counted

Array = npt.NDArray[Any]

COMPRESSION_LEVEL = 1
"""Probabilities are saturated or noise: higher levels take several times as long for little."""


@dataclass
class ArrayWriter:
    """Takes an array in pieces, in C order."""

    member: IO[bytes]
    dtype: np.dtype[Any]
    missing: int
    """Values that are still to come."""

    def write(self, part: Array) -> None:
        """Append values."""
        self.missing -= part.size
        self.member.write(np.ascontiguousarray(part, self.dtype).data.cast("B"))


@contextmanager
def write_npz(
    path: str | os.PathLike[str], key: str, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> Iterator[ArrayWriter]:
    """Write a compressed .npz with one array; it takes its place when all values are written.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    kind = np.dtype(dtype)
    with (
        replace_file(path) as stream,
        zipfile.ZipFile(
            stream, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL
        ) as archive,
        archive.open(f"{key}.npy", "w", force_zip64=True) as member,
    ):
        header = {
            "descr": np.lib.format.dtype_to_descr(kind),
            "fortran_order": False,
            "shape": shape,
        }
        preamble = BytesIO()
        np.lib.format.write_array_header_1_0(preamble, header)
        member.write(preamble.getvalue())
        writer = ArrayWriter(member, kind, int(np.prod(shape)))
        yield writer
        if writer.missing:
            raise ValueError(f"{path}: {counted(writer.missing, 'value is', 'values are')} missing")


class ArrayReader:
    """Reads an array of an .npz file in pieces, in C order; a context that closes the file.

    Raises
    ------
    FileError
        The file is missing or damaged, has no such array, or one of another kind than numbers.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path = Path(path)
        try:
            check_regular(self.path)
            self._archive = zipfile.ZipFile(self.path)
        except FileError:
            raise
        except Exception as error:  # zipfile raises anything on damaged bytes
            raise FileError(f"{self.path}: damaged, or no .npz file: {first_line(error)}") from None
        try:
            self._member = self._archive.open(f"{key}.npy")
            version = np.lib.format.read_magic(self._member)
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(self._member)
            else:
                header = np.lib.format.read_array_header_2_0(self._member)
        except KeyError:
            self._archive.close()
            raise FileError(f"{self.path}: has no array {key!r}.") from None
        except Exception as error:  # zipfile and NumPy raise anything on damaged bytes
            self._archive.close()
            raise FileError(f"{self.path}: damaged, or no .npz file: {first_line(error)}") from None
        self.shape, self._fortran_order, self.dtype = header
        held = self._archive.getinfo(f"{key}.npy").file_size
        if min(self.shape, default=0) < 0 or prod(self.shape) * self.dtype.itemsize > held:
            self._archive.close()
            raise FileError(
                f"{self.path}: damaged: {key!r} has the shape {shown(self.shape)}, for which its "
                f"{counted(held, 'byte is', 'bytes are')} too few."
            )
        if self.dtype.kind not in "fiu":
            self._archive.close()
            raise FileError(f"{self.path}: {key!r} holds {self.dtype}, not numbers.")
        self._whole: Array | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._member.close()  # or the file stays open where the array was not read to its end
        self._archive.close()

    def read(self, count: int) -> Array:
        """The next `count` values."""
        if self._fortran_order:
            return self._read_whole(count)
        size = count * self.dtype.itemsize
        buffer = self._bytes(size)
        return np.frombuffer(buffer, self.dtype)

    def _read_whole(self, count: int) -> Array:
        """As `read`, from an array in Fortran order: nobody writes one of any size."""
        if self._whole is None:
            values = np.frombuffer(
                self._bytes(int(np.prod(self.shape)) * self.dtype.itemsize), self.dtype
            )
            self._whole = values.reshape(self.shape, order="F").ravel(order="C")
        self._done += count
        return self._whole[self._done - count : self._done]

    def _bytes(self, size: int) -> bytes:
        try:
            buffer = self._member.read(size)
        except Exception as error:  # zipfile raises anything on damaged bytes
            raise FileError(f"{self.path}: damaged: {first_line(error)}") from None
        if len(buffer) < size:
            raise FileError(f"{self.path}: ends too early. Was it truncated?")
        return buffer
