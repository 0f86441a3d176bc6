"""Bytes that are alive, and the most there ever were: what a storage counter sees."""

from collections.abc import Iterable


class Buffer:
    """A tensor's storage: its size in bytes, and how many hold it."""

    __slots__ = ("holders", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.holders = 1


class Ledger:
    """Counts storages as they come and go, and the bytes that operations read and write.

    >>> ledger = Ledger()
    >>> ledger.free(ledger.new(8)); ledger.live, ledger.peak
    (0, 8)
    """

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.moved = 0

    def new(self, size: int) -> Buffer:
        """A new storage of `size` bytes, held once."""
        self.live += size
        if self.live > self.peak:
            self.peak = self.live
        return Buffer(size)

    def hold(self, buffer: Buffer) -> Buffer:
        """One more holds the storage."""
        buffer.holders += 1
        return buffer

    def free(self, *buffers: Buffer) -> None:
        """One fewer holds each storage; the last one frees it."""
        for buffer in buffers:
            buffer.holders -= 1
            if not buffer.holders:
                self.live -= buffer.size

    def touch(self, *sizes: int) -> None:
        """An operation read or wrote so many bytes."""
        self.moved += sum(sizes)

    def momentary(self, sizes: Iterable[int]) -> None:
        """Storages that an operation makes and gives up again, all alive at once."""
        size = sum(sizes)
        self.peak = max(self.peak, self.live + size)
