"""The same work for every case, on any executor, so that one failure stops no other."""

import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

from resenc_plans.errors import ResencPlansError, WorkerError, WorkerStartError
from resenc_plans.execution.cpus import checked_workers, usable_cpus
from resenc_plans.reprs import listed

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_AT_ONCE = 1000
"""Cases that are with an executor at a time: more than any cluster works on at once."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[str], object]]]
"""How a job of several steps shows its progress: it is called with a step and its number of cases,
and the context's value with the name of each finished case."""

logger = logging.getLogger(__name__)

MAX_ALIKE = 3
"""Cases that a message names one by one."""


@contextmanager
def no_progress(step: str, cases: int) -> Iterator[Callable[[str], object]]:
    """Show nothing."""
    del step, cases
    yield lambda _: None


@dataclass(frozen=True)
class CaseProblem:
    """Why a case failed."""

    case: str
    reason: str

    def __str__(self) -> str:
        return f"{self.case}: {self.reason}"


def together(problems: Iterable[CaseProblem]) -> list[CaseProblem]:
    """Problems of many cases with the same reason as one, in the order of the first of each.

    A reason that names its case names `CASE` instead.

    >>> problems = [CaseProblem(f"c{n}", f"c{n}.png: is empty") for n in range(9)]
    >>> [str(one) for one in together(problems)]
    ['c0, c1, c2 and 6 more: CASE.png: is empty']
    """
    groups: dict[str, list[CaseProblem]] = {}
    for problem in problems:
        groups.setdefault(of_any_case(problem), []).append(problem)
    merged: list[CaseProblem] = []
    for reason, group in groups.items():
        if len(group) <= MAX_ALIKE:
            merged += group
        else:
            merged.append(CaseProblem(listed((one.case for one in group), MAX_ALIKE), reason))
    return merged


def of_any_case(problem: CaseProblem) -> str:
    """The reason of a problem, with `CASE` for the name of its case."""
    own = rf"(?<![^\W_]){re.escape(problem.case)}(?![^\W_])"
    return re.sub(own, "CASE", problem.reason)


@dataclass(frozen=True)
class CaseOutcome(Generic[Result]):
    """The result of one case."""

    index: int
    """The case's position in the sequence of cases."""
    result: Result | CaseProblem
    will_be_retried: bool = False


def each_case(
    work: Callable[[Item], Result],
    cases: Sequence[Item],
    *,
    name: Callable[[Item], str] = str,
    executor: Executor | None = None,
    workers: int | None = None,
    on_case: Callable[[str], object] | None = None,
) -> list[Result | CaseProblem]:
    """Do `work(case)` for each case; the results, or problems, are in the order of the cases.

    Parameters
    ----------
    work
        May raise anything; the traceback is logged at debug level.
    cases
        Whatever `work` takes.
    name
        The name of a case for problems and progress.
    executor
        Where the work is done; by default threads, which suit work that releases the
        interpreter's lock, as reading, decompression and NumPy's reductions do.
    workers
        Number of threads without an `executor`; by default one per usable CPU.
    on_case
        Called in this thread with the name of each finished case.

    Raises
    ------
    WorkerStartError
        No worker process can be started.
    """
    if executor is None:
        with ThreadPoolExecutor(checked_workers(workers or usable_cpus())) as threads:
            return each_case(work, cases, name=name, executor=threads, on_case=on_case)
    results: dict[int, Result | CaseProblem] = {}
    with closing(as_cases_complete(work, cases, executor, name=name)) as outcomes:
        for outcome in outcomes:
            results[outcome.index] = outcome.result
            if on_case is not None:
                on_case(name(cases[outcome.index]))
    return [results[index] for index in range(len(cases))]


def as_cases_complete(
    work: Callable[[Item], Result],
    cases: Sequence[Item],
    executor: Executor,
    *,
    name: Callable[[Item], str] = str,
    retry_lost: bool = False,
) -> Generator[CaseOutcome[Result]]:
    """Yield the outcome of each case as soon as it is known, in any order.

    No more than `MAX_AT_ONCE` cases are with the executor, and no result is kept, so that any
    number of cases takes as much memory as these. With `retry_lost`, cases whose worker died or ran
    out of memory are tried once more when all others are done, one at a time. Closing the generator
    cancels the cases that have not begun.

    Raises
    ------
    WorkerStartError
        No worker process can be started.
    """
    futures: dict[Future[Result], int] = {}
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    waiting = iter(enumerate(cases))
    lost: list[int] = []
    try:
        while True:
            for index, case in islice(waiting, MAX_AT_ONCE - len(futures)):
                future = _submit(executor, work, case)
                futures[future] = index
                future.add_done_callback(done.put)
            if not futures:
                break
            future = done.get()
            index = futures.pop(future)
            error = _error_of(future)
            if error is None:
                yield CaseOutcome(index, future.result())
                continue
            will_be_retried = retry_lost and is_loss(error)
            if will_be_retried:
                lost.append(index)
            yield CaseOutcome(index, problem(name(cases[index]), error), will_be_retried)
        for index in lost:
            future = _submit(executor, work, cases[index])
            futures[future] = index
            error = _error_of(future)
            yield CaseOutcome(
                index, problem(name(cases[index]), error) if error else future.result()
            )
    finally:
        for future in futures:
            future.cancel()


def separate(
    results: Iterable[Result | CaseProblem],
) -> tuple[tuple[Result, ...], tuple[CaseProblem, ...]]:
    """The results of the cases that succeeded, and the problems of those that failed."""
    successes: list[Result] = []
    problems: list[CaseProblem] = []
    for result in results:
        if isinstance(result, CaseProblem):
            problems.append(result)
        else:
            successes.append(result)
    return tuple(successes), tuple(problems)


def problem(case: str, error: BaseException) -> CaseProblem:
    """The problem that an exception is for a case; the traceback is logged at debug level."""
    logger.debug("Case %s failed", case, exc_info=error)
    if isinstance(error, ResencPlansError):
        return CaseProblem(case, str(error))
    if isinstance(error, MemoryError):
        return CaseProblem(case, "There is not enough memory for it.")
    if isinstance(error, BrokenExecutor):
        return CaseProblem(case, "A worker process died, perhaps for lack of memory.")
    if isinstance(error, CancelledError):
        return CaseProblem(case, "It was cancelled.")
    return CaseProblem(case, f"{type(error).__name__}: {error}")


def is_loss(error: BaseException) -> bool:
    """Whether the worker failed rather than the case; Dask's KilledWorker goes by its name."""
    losses = WorkerError, MemoryError, BrokenExecutor
    return isinstance(error, losses) or type(error).__name__ == "KilledWorker"


def _submit(executor: Executor, work: Callable[[Item], Result], case: Item) -> Future[Result]:
    try:
        return executor.submit(work, case)
    except BrokenExecutor as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def _error_of(future: Future[Result]) -> BaseException | None:
    """The exception of a case, once it is done."""
    try:
        error = future.exception()
    except CancelledError as cancellation:
        return cancellation
    if isinstance(error, WorkerStartError) or (
        error is not None and not isinstance(error, Exception)
    ):
        raise error
    return error
