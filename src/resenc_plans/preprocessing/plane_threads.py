"""Planes on several threads, with a BLAS that keeps to the thread that calls it.

A product of plane and matrix takes a fraction of a millisecond, too little for BLAS to share it
out: on a busy machine its threads wait for each other ten times as long as they calculate. So each
thread here does whole planes, and BLAS is told to use no threads of its own meanwhile.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

from resenc_plans.datasets.case_pool import usable_cpus

MOST_THREADS = 8
"""More would only wait for memory, and each holds planes of its own."""
WORTH_THREADS = 1 << 21
"""Voxels from which starting threads pays."""

ForEach = Callable[[Callable[[int], None], Iterable[int]], None]


@contextmanager
def plane_threads(voxels: int) -> Iterator[ForEach]:
    """A function `each(work, planes)` that does `work(plane)` for all planes, some at a time."""
    threads = thread_count() if voxels >= WORTH_THREADS else 1
    with _blas().limit(limits=1, user_api="blas"):
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


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """Found once: looking through the loaded libraries takes a millisecond."""
    return ThreadpoolController()
