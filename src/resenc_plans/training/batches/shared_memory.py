"""How many batches processes may make ahead: they wait in /dev/shm, which containers keep small."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import WorkerError
from resenc_plans.words import counted

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps what processes share."""
MAX_AHEAD = 3
"""Batches that a process makes ahead; more only take memory."""
MAX_BYTES_AHEAD = 2 * 2**30
"""What the batches of one loader may take together, as long as each process makes one."""
HINT = (
    "Give a Docker container more (docker run --shm-size=8g, or --ipc=host), or use fewer workers "
    "(`workers=0` needs none)"
)


@dataclass(frozen=True)
class LoaderDemand:
    """Of a loader: its processes, and the bytes of a batch."""

    workers: int
    batch_bytes: int

    @property
    def ahead(self) -> int:
        """Batches that each process makes ahead."""
        fitting = MAX_BYTES_AHEAD // max(1, self.workers * self.batch_bytes)
        return max(1, min(MAX_AHEAD, fitting))

    def bytes_at(self, ahead: int) -> int:
        """Bytes of all batches at once: those made ahead, and the one in use."""
        return (self.workers * ahead + 1) * self.batch_bytes if self.workers else 0


def free_shared_memory() -> int | None:
    """Bytes that are free in /dev/shm; None where there is none, as on macOS and Windows."""
    try:
        room = os.statvfs(SHARED_MEMORY)
    except (AttributeError, OSError):
        return None
    return room.f_bavail * room.f_frsize


def batches_ahead(demands: Sequence[LoaderDemand], processes: int = 1) -> list[int]:
    """How many batches the processes of each loader make ahead, as /dev/shm allows.

    `processes` of this machine have the same loaders. Where everything does not fit, all loaders
    make fewer, at least one per process.

    Raises
    ------
    WorkerError
        Not even that fits.
    """
    free = free_shared_memory()
    limit = MAX_AHEAD
    needed = 0
    while limit:
        ahead = [min(limit, demand.ahead) for demand in demands]
        needed = processes * sum(
            demand.bytes_at(number) for demand, number in zip(demands, ahead, strict=True)
        )
        if free is None or needed <= free:
            return ahead
        limit -= 1
    workers = processes * sum(demand.workers for demand in demands)
    raise WorkerError(
        f"{SHARED_MEMORY} has {_mib(free or 0)} free, and the batches of "
        f"{counted(workers, 'process', 'processes')} that load data need {_mib(needed)}. {HINT}."
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
