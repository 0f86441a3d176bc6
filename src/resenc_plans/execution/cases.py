"""The same work for every case, on any executor; one damaged case stops no other."""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

from resenc_plans.datasets.dataset import Case
from resenc_plans.errors import ResencPlansError
from resenc_plans.execution.cpus import cpu_quota

Result = TypeVar("Result")


@dataclass(frozen=True)
class CaseFailure:
    """Why a case has no result."""

    case: Case
    reason: str


def run_cases(
    work: Callable[[Case], Result],
    cases: Iterable[Case],
    executor: Executor | None = None,
    on_case: Callable[[str], None] | None = None,
) -> list[Result | CaseFailure]:
    """Do `work` for each case; the results are in the order of the cases.

    Without an `executor`, threads do it, one per CPU that this process may use. That suits work
    that releases the interpreter's lock, as reading, decompressing and NumPy's reductions do.
    `on_case` is called in this thread with the name of each case that is done.
    """
    if executor is None:
        with ThreadPoolExecutor(usable_cpus()) as threads:
            return run_cases(work, cases, threads, on_case)
    futures: dict[Future[Result], Case] = {}
    try:
        for case in cases:
            futures[_submit(executor, work, case)] = case
        for future in as_completed(futures):
            if on_case is not None:
                on_case(futures[future].name)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [
        _failure(case, future.exception()) or future.result() for future, case in futures.items()
    ]


def usable_cpus() -> int:
    """The number of CPUs that this process may use, which on a cluster is not what there is."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    quota = cpu_quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _submit(executor: Executor, work: Callable[[Case], Result], case: Case) -> Future[Result]:
    try:
        return executor.submit(work, case)
    except BrokenExecutor as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def _failure(case: Case, error: BaseException | None) -> CaseFailure | None:
    if error is None:
        return None
    if isinstance(error, ResencPlansError):
        return CaseFailure(case, str(error))
    if isinstance(error, BrokenExecutor):
        return CaseFailure(case, "a worker process died, perhaps for lack of memory.")
    return CaseFailure(case, f"{type(error).__name__}: {error}")
