"""NIfTI files, with the checks that ITK does not make.

SimpleITK reads the missing voxels of a truncated file as zeros, and replaces NaN and infinity by
zero, without an error.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from resenc_plans.errors import DatasetError, FileError
from resenc_plans.execution.memory import free_memory
from resenc_plans.files import open_regular
from resenc_plans.words import counted

NIFTI_ENDINGS = (".nii", ".nii.gz")
ITK_READER = "NiftiImageIO"
"""Named, so that ITK does not try each of its readers."""

_INPUT_CHUNK = 1 << 18
_OUTPUT_CHUNK = 1 << 22
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_GZIP_RATIO = 1100
"""Bytes that a byte of gzip may stand for: 1032, and some to spare."""
_LONGEST_HEADER = 540
_MAX_OFFSET = 1 << 40
_MAX_SURPLUS = 1 << 28
"""Bytes after the last voxel that are looked at; other programs leave a few."""
_MIN_CHECKED_BYTES = 1 << 29
_BYTES_PER_VOXEL = {
    2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1,
    512: 2, 768: 4, 1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4,
}  # fmt: skip
"""NIfTI's data type codes."""
_NUMBERS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8",
}  # fmt: skip
_SFORMS = ((348, 254, 280, "12f"), (_LONGEST_HEADER, 348, 400, "12d"))
"""Of NIfTI-1 and 2: size of the header, offset of the code that tells whether there is an affine
matrix, and where that is."""
_UNSCALED = ((1, 0), (0, 0))
"""Slope and intercept of voxels that need no scaling."""


@dataclass(frozen=True)
class _Header:
    offset: int
    """Byte at which the voxels begin."""
    end: int
    """Byte at which they end."""
    dtype: np.dtype[Any]
    """Type of the voxels; uint8 where NumPy has no such numbers."""
    as_stored: bool
    """Whether the voxels are numbers that need no scaling."""


def scan(path: Path) -> frozenset[str]:
    """Read a NIfTI file completely; return whether its voxels include "nan" or "infinite".

    Raises
    ------
    DatasetError
        As `read`.
    """
    return frozenset(not_finite(read(path)[0]))


def read(path: Path) -> tuple[NDArray[Any], bool]:
    """The voxels of a NIfTI file as a flat array in the file's type and byte order.

    Where NumPy has no such type, these are bytes. The second value tells whether the array holds
    the image's values: they are neither bytes nor to be scaled.

    Raises
    ------
    DatasetError
        The file is truncated, its gzip data are damaged, or it has no NIfTI header.
    """
    try:
        with open_regular(path) as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            pieces = _decompressed(stream) if compressed else _pieces(stream)
            size = os.fstat(stream.fileno()).st_size * (_MAX_GZIP_RATIO if compressed else 1)
            header, content = _up_to_last_voxel(pieces, size, path)
    except FileError as error:
        raise DatasetError(str(error)) from None
    except OSError as error:
        raise DatasetError(f"{path}: unreadable: {error.strerror or error}.") from None
    except zlib.error as error:
        raise DatasetError(
            f"{path}: the gzip data are damaged ({error}). Copy it again from its source."
        ) from None
    if len(content) < header.end:
        unpacked = " after decompression" if compressed else ""
        raise DatasetError(
            f"{path}: truncated: has {counted(len(content), 'byte')} of {header.end}{unpacked}. "
            "Copy it again from its source."
        )
    voxels = np.frombuffer(memoryview(content)[header.offset : header.end], header.dtype)
    return voxels, header.as_stored


def check_position(path: Path) -> None:
    """Raise DatasetError where the position is not finite: ITK may read such a header for ever.

    Whatever else may be wrong with the file is left to its reader.
    """
    try:
        with open_regular(path) as stream:
            start = stream.read(_INPUT_CHUNK)
        if start.startswith(_GZIP_MAGIC):
            start = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, _LONGEST_HEADER)
    except (FileError, OSError, zlib.error):
        return
    for order in "<>":
        for size, code_offset, offset, numbers in _SFORMS:
            if len(start) < size or struct.unpack_from(f"{order}i", start) != (size,):
                continue
            is_used = any(start[code_offset : code_offset + 2 + 2 * (size == _LONGEST_HEADER)])
            position = struct.unpack_from(f"{order}{numbers}", start, offset)
            if is_used and not all(map(isfinite, position)):
                raise DatasetError(
                    f"{path}: its position in space has numbers that are not finite (sform). "
                    "Correct its header."
                )


def not_finite(values: NDArray[Any]) -> Iterator[str]:
    """The kinds "nan" and "infinite", if there are such values."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        if np.isnan(values).any():
            yield "nan"
        if np.isinf(values).any():
            yield "infinite"


def _up_to_last_voxel(pieces: Iterator[bytes], size: int, path: Path) -> tuple[_Header, bytes]:
    """The header, and the content as far as it is needed, of a file of at most `size` bytes.

    What follows is read too, so that a damaged end is found, but neither kept nor read for ever.
    """
    header = None
    kept: list[bytes] = []
    length = surplus = 0
    for piece in pieces:
        if header is None or length < header.end:
            kept.append(piece)
            length += len(piece)
        else:
            surplus += len(piece)
            if surplus > _MAX_SURPLUS:
                break
        if header is None and length >= _LONGEST_HEADER:
            kept = [b"".join(kept)]
            header = _parse(kept[0])
            if header is None:
                break
            _check_memory(min(header.end, size), path)
    content = b"".join(kept)
    header = header or _parse(content)
    if header is None:
        raise DatasetError(f"{path}: unreadable: not a NIfTI file.")
    return header, content


def _check_memory(needed: int, path: Path) -> None:
    """Refuse what does not fit into memory: few bytes of gzip may stand for any number of zeros."""
    free = free_memory() if needed > _MIN_CHECKED_BYTES else None
    if free is not None and needed > free:
        raise DatasetError(
            f"{path}: its voxels take {needed / 2**30:,.1f} GiB, but {free / 2**30:,.1f} GiB of "
            "memory are free."
        )


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The content of a file in pieces."""
    while data := stream.read(_OUTPUT_CHUNK):
        yield data


def _decompressed(stream: BinaryIO) -> Iterator[bytes]:
    """The content in pieces; what follows the last gzip member is ignored, as by gzread."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    data = stream.read(_INPUT_CHUNK)
    while data:
        yield inflate.decompress(data, _OUTPUT_CHUNK)
        if inflate.eof:
            data = inflate.unused_data + stream.read(_INPUT_CHUNK)
            if not data.startswith(_GZIP_MAGIC):
                return
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        else:
            data = inflate.unconsumed_tail or stream.read(_INPUT_CHUNK)


def _parse(header: bytes) -> _Header | None:
    """The header at the start of a file, of NIfTI-1 or NIfTI-2, in either byte order."""
    if len(header) < 348:
        return None
    dimensions: tuple[int, ...]
    for order in "<>":
        (header_size,) = struct.unpack_from(f"{order}i", header)
        if header_size == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            (code,) = struct.unpack_from(f"{order}h", header, 70)
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
            scaling = struct.unpack_from(f"{order}2f", header, 112)
        elif header_size == 540 and len(header) >= 540:
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            (code,) = struct.unpack_from(f"{order}h", header, 12)
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
            scaling = struct.unpack_from(f"{order}2d", header, 176)
        else:
            continue
        if not 1 <= dimensions[0] <= 7 or not 0 <= offset < _MAX_OFFSET:
            return None
        start = max(int(offset), int(header_size))
        voxels: int = prod(max(1, size) for size in dimensions[1 : 1 + dimensions[0]])
        dtype = np.dtype(f"{order}{_NUMBERS.get(code, 'u1')}")
        end = start + voxels * _BYTES_PER_VOXEL.get(code, 0)
        return _Header(start, end, dtype, code in _NUMBERS and scaling in _UNSCALED)
    return None
