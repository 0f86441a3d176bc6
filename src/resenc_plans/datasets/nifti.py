"""Whether a NIfTI file is whole, which ITK does not say: it reads what is there, and no more.

SimpleITK gives a truncated file's missing voxels as zeros, without a word.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

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


def check_whole(path: Path) -> None:
    """Read a NIfTI file to its end, and compare with the size that its header promises.

    Raises
    ------
    DatasetError
        The file is truncated, its gzip data are damaged, or it has no NIfTI header.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
        if compressed:
            header, size = _gzip_content(path)
        else:
            with path.open("rb") as stream:
                header = stream.read(_HEADER_BYTES)
            size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path}: unreadable: {error.strerror or error}.") from None
    expected = _expected_size(header)
    if expected is None:
        raise DatasetError(f"{path}: unreadable: not a NIfTI file.")
    if size < expected:
        unpacked = " after decompression" if compressed else ""
        raise DatasetError(
            f"{path}: truncated: has {size} bytes of {expected}{unpacked}. "
            "Copy it again from its source."
        )


def _gzip_content(path: Path) -> tuple[bytes, int]:
    """The first bytes and the length of what is compressed; the checksum is verified."""
    header, size = b"", 0
    try:
        for chunk in _decompressed(path):
            if len(header) < _HEADER_BYTES:
                header += chunk[:_HEADER_BYTES]
            size += len(chunk)
    except zlib.error as error:
        raise DatasetError(
            f"{path}: the gzip data are damaged ({error}). Copy it again from its source."
        ) from None
    return header, size


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


def _expected_size(header: bytes) -> int | None:
    """Bytes that a file with this header has at least; None where it is no NIfTI header."""
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
        voxels: int = prod(max(1, size) for size in dimensions[1 : 1 + dimensions[0]])
        return max(int(offset), int(header_size)) + voxels * _BYTES_PER_VOXEL.get(code, 0)
    return None
