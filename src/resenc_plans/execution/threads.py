"""Planes on several threads, with a BLAS that uses only the thread that calls it.

A product of plane and matrix takes a fraction of a millisecond, too little for BLAS to divide: on a
busy machine its threads wait for each other ten times as long as they calculate. So each thread
here does whole planes, and BLAS is limited to one thread in the meantime.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from threadpoolctl import ThreadpoolController

from resenc_plans.execution.cpus import usable_cpus

MAX_THREADS = 8
"""More would only wait for memory, and each holds planes of its own."""
MIN_VOXELS = 1 << 21
"""Below this number of voxels, starting threads costs more than it saves."""

ForEach = Callable[[Callable[[int], None], Iterable[int]], None]


class _BlasOnOneThread:
    """A context, for any number of threads at once, in which BLAS uses one thread.

    The limit must not change while BLAS calculates: the first thread to enter sets it, the last to
    leave removes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._libraries: ThreadpoolController | None = None
        self._limits = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                if self._libraries is None:
                    self._libraries = ThreadpoolController()
                self._limits.enter_context(self._libraries.limit(limits=1, user_api="blas"))

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.close()


_BLAS_ON_ONE_THREAD = _BlasOnOneThread()


@contextmanager
def plane_threads(voxels: int) -> Iterator[ForEach]:
    """Yield a function `each(work, planes)` that does `work(plane)` for all planes in parallel."""
    threads = thread_count() if voxels >= MIN_VOXELS else 1
    with _BLAS_ON_ONE_THREAD:
        if threads == 1:
            yield _in_turn
            return
        with ThreadPoolExecutor(threads) as pool:

            def each(work: Callable[[int], None], planes: Iterable[int]) -> None:
                for _ in pool.map(work, planes):
                    pass

            yield each


def thread_count() -> int:
    """One thread per usable CPU, at most MAX_THREADS and at most OMP_NUM_THREADS."""
    variable = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(variable) if variable.isdigit() and int(variable) > 0 else MAX_THREADS
    return min(limit, usable_cpus(), MAX_THREADS)


def _in_turn(work: Callable[[int], None], planes: Iterable[int]) -> None:
    for plane in planes:
        work(plane)
