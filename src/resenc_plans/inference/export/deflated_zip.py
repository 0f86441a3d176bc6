"""A zip archive with one member, compressed on several threads.

Deflate may be cut anywhere into blocks that know nothing of each other (zlib's full flush), and
what is put together from them is an ordinary member that every reader takes. The format is that of
PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3, with 64-bit sizes throughout.
"""

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from resenc_plans.execution.threads import thread_count

BLOCK = 1 << 20
"""Bytes that are compressed on their own: less than one in a thousand is lost by that."""

_VERSION = 45
_DEFLATED = 8
_FIRST_OF_1980 = 0x21
_IN_EXTRA = 0xFFFFFFFF
_PERMISSIONS = 0o644 << 16


class DeflatedMember:
    """Takes the bytes of the member; `deflated_zip` makes and closes it."""

    def __init__(self, stream: BinaryIO, pool: ThreadPoolExecutor, level: int, ahead: int) -> None:
        self._stream = stream
        self._pool = pool
        self._level = level
        self._ahead = ahead
        self._pending: deque[Future[bytes]] = deque()
        self._rest = b""
        self.size = self.compressed_size = self.checksum = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes, and compress them some time."""
        view = memoryview(data)
        self.size += len(view)
        self.checksum = zlib.crc32(view, self.checksum)
        if self._rest:
            needed = BLOCK - len(self._rest)
            self._rest += bytes(view[:needed])
            view = view[needed:]
            if len(self._rest) < BLOCK:
                return len(data)
            self._submit(self._rest)
            self._rest = b""
        whole = len(view) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self._submit(bytes(view[start : start + BLOCK]))
        self._rest = bytes(view[whole:])
        return len(data)

    def finish(self) -> None:
        """Compress what is left and end the deflated data."""
        self._submit(self._rest)
        self._drain(0)
        self._put(zlib.compressobj(wbits=-zlib.MAX_WBITS).flush())

    def _submit(self, block: bytes) -> None:
        self._pending.append(self._pool.submit(_deflate, block, self._level))
        self._drain(self._ahead)

    def _drain(self, leave: int) -> None:
        while len(self._pending) > leave:
            self._put(self._pending.popleft().result())

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self.compressed_size += len(data)


@contextmanager
def deflated_zip(stream: BinaryIO, name: str, level: int) -> Iterator[DeflatedMember]:
    """Write an archive with the member `name` to an empty stream that can seek."""
    header_size = len(_local_header(name, 0, 0, 0))
    stream.write(bytes(header_size))
    threads = thread_count()
    with ThreadPoolExecutor(threads) as pool:
        member = DeflatedMember(stream, pool, level, ahead=2 * threads)
        yield member
        member.finish()
    facts = member.checksum, member.size, member.compressed_size
    stream.write(_directory(name, *facts, start=header_size + member.compressed_size))
    stream.seek(0)
    stream.write(_local_header(name, *facts))
    stream.seek(0, 2)


def _deflate(block: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)


def _sizes(size: int, compressed_size: int) -> bytes:
    return struct.pack("<2H2Q", 1, 16, size, compressed_size)


def _common(name: str, checksum: int, extra: bytes) -> bytes:
    """What local header and directory entry have in common, from the version on."""
    flags = 0
    what = struct.pack("<5H", _VERSION, flags, _DEFLATED, 0, _FIRST_OF_1980)
    sizes = struct.pack("<3L", checksum, _IN_EXTRA, _IN_EXTRA)
    return what + sizes + struct.pack("<2H", len(name), len(extra))


def _local_header(name: str, checksum: int, size: int, compressed_size: int) -> bytes:
    extra = _sizes(size, compressed_size)
    return b"PK\3\4" + _common(name, checksum, extra) + name.encode("ascii") + extra


def _directory(name: str, checksum: int, size: int, compressed_size: int, start: int) -> bytes:
    """The directory with its one entry, and the records of the archive's end."""
    extra = _sizes(size, compressed_size)
    entry = (
        b"PK\1\2"
        + struct.pack("<H", _VERSION)
        + _common(name, checksum, extra)
        + struct.pack("<3H2L", 0, 0, 0, _PERMISSIONS, 0)
        + name.encode("ascii")
        + extra
    )
    end_in_64_bits = b"PK\6\6" + struct.pack(
        "<Q2H2L4Q", 44, _VERSION, _VERSION, 0, 0, 1, 1, len(entry), start
    )
    locator = b"PK\6\7" + struct.pack("<LQL", 0, start + len(entry), 1)
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, len(entry), min(start, _IN_EXTRA), 0)
    return entry + end_in_64_bits + locator + end
