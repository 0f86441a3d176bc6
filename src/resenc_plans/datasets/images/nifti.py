"""What ITK does not say about NIfTI files: it reads what is there, and no more.

SimpleITK gives the missing voxels of a truncated file as zeros, and replaces NaN and infinity by
zero, all without a word.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.errors import DatasetError

NIFTI_ENDINGS = (".nii", ".nii.gz")
ITK_READER = "NiftiImageIO"
"""Named, so that ITK does not ask every one of its readers whether a file is theirs."""

_INPUT_CHUNK = 1 << 18
_OUTPUT_CHUNK = 1 << 22
_HEADER_BYTES = 540
_GZIP_MAGIC = b"\x1f\x8b"
_BYTES_PER_VOXEL = {
    2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1,
    512: 2, 768: 4, 1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4,
}  # fmt: skip
"""NIfTI's data type codes."""
_FLOATS = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class _Header:
    offset: int
    """Where the voxels start, in bytes."""
    end: int
    """Where they end."""
    float_type: np.dtype[Any] | None
    """Of the voxels, where they are floating-point numbers."""


def scan(path: Path) -> frozenset[str]:
    """Read a NIfTI file to its end; tell whether its voxels include "nan" or "infinite".

    Raises
    ------
    DatasetError
        The file is truncated, its gzip data are damaged, or it has no NIfTI header.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
        size, header, kinds = _scan(_decompressed(path) if compressed else _plain(path))
    except OSError as error:
        raise DatasetError(f"{path}: unreadable: {error.strerror or error}.") from None
    except zlib.error as error:
        raise DatasetError(
            f"{path}: the gzip data are damaged ({error}). Copy it again from its source."
        ) from None
    if header is None:
        raise DatasetError(f"{path}: unreadable: not a NIfTI file.")
    if size < header.end:
        unpacked = " after decompression" if compressed else ""
        raise DatasetError(
            f"{path}: truncated: has {size} bytes of {header.end}{unpacked}. "
            "Copy it again from its source."
        )
    return frozenset(kinds)


def _scan(chunks: Iterator[bytes]) -> tuple[int, _Header | None, set[str]]:
    """Size of the content, its header, and which of its values are not finite."""
    start = b""
    while len(start) < _HEADER_BYTES and (chunk := next(chunks, b"")):
        start += chunk
    header = _parse(start)
    kinds: set[str] = set()
    size, pending = 0, b""
    for chunk in chain([start], chunks):
        if header is not None and header.float_type is not None:
            pending += chunk[max(0, header.offset - size) : max(0, header.end - size)]
            whole = len(pending) - len(pending) % header.float_type.itemsize
            kinds.update(not_finite(np.frombuffer(pending[:whole], header.float_type)))
            pending = pending[whole:]
        size += len(chunk)
    return size, header, kinds


def not_finite(values: NDArray[Any]) -> Iterator[str]:
    """The kinds "nan" and "infinite", where there are such values."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        if np.isnan(values).any():
            yield "nan"
        if np.isinf(values).any():
            yield "infinite"


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_OUTPUT_CHUNK):
            yield chunk


def _decompressed(path: Path) -> Iterator[bytes]:
    """The content in pieces; what follows the last gzip member is ignored, as by gzread."""
    with path.open("rb") as stream:
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
        elif header_size == 540 and len(header) >= 540:
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            (code,) = struct.unpack_from(f"{order}h", header, 12)
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        start = max(int(offset), int(header_size))
        voxels: int = prod(max(1, size) for size in dimensions[1 : 1 + dimensions[0]])
        float_type = np.dtype(f"{order}{_FLOATS[code]}") if code in _FLOATS else None
        return _Header(start, start + voxels * _BYTES_PER_VOXEL.get(code, 0), float_type)
    return None
