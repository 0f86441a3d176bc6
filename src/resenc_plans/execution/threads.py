"""Planes on several threads, with a BLAS that keeps to the thread that calls it.

A product of plane and matrix takes a fraction of a millisecond, too little for BLAS to share it
out: on a busy machine its threads wait for each other ten times as long as they calculate. So each
thread here does whole planes, and BLAS is told to use no threads of its own meanwhile.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from threadpoolctl import ThreadpoolController

from resenc_plans.execution.cpus import usable_cpus

MOST_THREADS = 8
"""More would only wait for memory, and each holds planes of its own."""
WORTH_THREADS = 1 << 21
"""Voxels from which starting threads pays."""

ForEach = Callable[[Callable[[int], None], Iterable[int]], None]


class _BlasOnOneThread:
    """A context, for any number of threads at once, in which BLAS uses no threads of its own.

    BLAS must not be told so while it calculates: the first to enter tells it, the last to leave
    takes it back.
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
    """A function `each(work, planes)` that does `work(plane)` for all planes, some at a time."""
    threads = thread_count() if voxels >= WORTH_THREADS else 1
    with _BLAS_ON_ONE_THREAD:
        if threads == 1:
            yield _one_after_the_other
            return
        with ThreadPoolExecutor(threads) as pool:

            def each(work: Callable[[int], None], planes: Iterable[int]) -> None:
                for _ in pool.map(work, planes):
                    pass

            yield each


def thread_count() -> int:
    """As many threads as there are CPUs, or fewer if OMP_NUM_THREADS asks for that."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(wanted) if wanted.isdigit() and int(wanted) > 0 else MOST_THREADS
    return min(limit, usable_cpus(), MOST_THREADS)


def _one_after_the_other(work: Callable[[int], None], planes: Iterable[int]) -> None:
    for plane in planes:
        work(plane)
