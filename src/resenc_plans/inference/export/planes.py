"""Logits some planes at a time: from an array in memory, or read from a file or store."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from resenc_plans.inference.export.interpolation import Array, Logits
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

BYTES_AT_ONCE = 128 << 20
"""About as much of the logits is held at a time."""
MIN_PLANES = 8
MAX_CHUNK_RATIO = 2
"""A store is read by whole chunks unless they are larger than so many times the planes that fit."""


@dataclass(frozen=True)
class Window:
    """Neighbouring old planes, and the new planes that lie between them."""

    start: int
    stop: int
    new: range


def windows(sampling: AxisSampling, length: int, planes: int) -> Iterator[Window]:
    """Windows over the old planes that together hold all new ones, in order.

    They end at multiples of `planes`, as the chunks of a store do, and share one plane at most, so
    that they have `planes + 1` at most.

    >>> [(w.start, w.stop, w.new) for w in windows(AxisSampling.of(4, 8, order=1), 4, 2)]
    [(0, 2, range(0, 3)), (1, 4, range(3, 8))]
    """
    first = 0
    while first < sampling.lower.size:
        start, needed = int(sampling.lower[first]), int(sampling.upper[first]) + 1
        stop = min(-(-needed // planes) * planes, length)
        end = int(np.searchsorted(sampling.upper, stop, side="left"))
        yield Window(start, stop, range(first, end))
        first = end


def planes_at_once(logits: Logits) -> int:
    """How many planes to work on at a time: whole chunks of a store, if they are not too large."""
    heads, length, height, width = logits.shape
    planes = max(BYTES_AT_ONCE // (heads * height * width * logits.dtype.itemsize), MIN_PLANES)
    chunk = int((getattr(logits, "chunks", None) or (1, 1))[1])
    if chunk <= MAX_CHUNK_RATIO * planes:
        planes = max(planes // chunk, 1) * chunk
    return min(planes, length)


class PlaneReader:
    """Gives the planes of one window after the other."""

    def __init__(self, logits: Logits, planes: int) -> None:
        self._logits = logits
        self._in_memory: Array | None = None
        self._buffer: Array | None = None
        self._stop = self._last = 0
        if (
            isinstance(logits, np.ndarray)
            and not isinstance(logits, np.memmap)
            and logits.flags.c_contiguous
        ):
            self._in_memory = logits
        else:
            heads, _, height, width = logits.shape
            self._buffer = np.empty((heads, planes + 1, height, width), logits.dtype)

    def read(self, window: Window) -> tuple[Array, int]:
        """A contiguous array (heads, planes, y, x), and where in it the window begins.

        The array is valid until the next call.
        """
        if self._in_memory is not None:
            return self._in_memory, window.start
        assert self._buffer is not None
        begin = window.start
        if begin < self._stop:  # the one plane that it shares with the window before
            self._buffer[:, 0] = self._buffer[:, self._last]
            begin += 1
        count = window.stop - window.start
        self._buffer[:, begin - window.start : count] = self._logits[:, begin : window.stop]
        self._stop, self._last = window.stop, count - 1
        _forget_pages(self._logits)
        return self._buffer, 0


def _forget_pages(logits: Logits) -> None:
    """Let the system have back the memory that reading a mapped file took."""
    if not isinstance(logits, np.memmap) or logits.mode == "c":
        return
    part: Any = logits
    while isinstance(part, np.ndarray):
        part = part.base
    if isinstance(part, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        part.madvise(mmap.MADV_DONTNEED)
