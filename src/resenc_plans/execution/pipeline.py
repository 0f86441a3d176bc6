"""Cases through three stages at once: read ahead, predict here, write behind."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from resenc_plans.execution.cases import CaseProblem, problem
from resenc_plans.execution.cpus import checked_workers

Case = TypeVar("Case")
Read = TypeVar("Read")
Predicted = TypeVar("Predicted")

CASES_AHEAD = 2
"""Cases that are read while the network works. With the one in the network and one per worker that
writes, these are all the cases that are held in memory."""


@dataclass(frozen=True)
class Pipeline(Generic[Case, Read, Predicted]):
    """Three stages; `predict` runs in the thread of `run`, the others in threads of their own."""

    read: Callable[[Case], Read]
    predict: Callable[[Case, Read], Predicted]
    write: Callable[[Case, Predicted], None]
    workers: int = 1
    """Threads that read, and as many that write."""
    name: Callable[[Case], str] = str
    """The name of a case for its problem."""

    def run(self, cases: Sequence[Case]) -> Iterator[tuple[Case, CaseProblem | None]]:
        """Yield each finished case, with its problem if it failed.

        A case may be finished after later ones. When the caller stops iterating, cases that have
        begun are finished and the others are dropped.
        """
        writing: deque[tuple[Case, Future[None]]] = deque()
        workers = checked_workers(self.workers)
        readers, writers = ThreadPoolExecutor(workers), ThreadPoolExecutor(workers)
        try:
            for case, future in self._read_ahead(readers, cases):
                predicted = self._predict(case, future)
                del future
                if isinstance(predicted, CaseProblem):
                    yield case, predicted
                    continue
                while len(writing) >= self.workers:
                    yield self._finish(*writing.popleft())
                writing.append((case, writers.submit(self.write, case, predicted)))
                del predicted
            while writing:
                yield self._finish(*writing.popleft())
        finally:
            for pool in (readers, writers):
                pool.shutdown(cancel_futures=True)

    def _predict(self, case: Case, future: "Future[Read]") -> "Predicted | CaseProblem":
        try:
            return self.predict(case, future.result())
        except Exception as error:  # a damaged file may raise anything deep in a library
            return problem(self.name(case), error)

    def _read_ahead(
        self, pool: ThreadPoolExecutor, cases: Sequence[Case]
    ) -> "Iterator[tuple[Case, Future[Read]]]":
        reading: deque[tuple[Case, Future[Read]]] = deque()
        for case in cases:
            reading.append((case, pool.submit(self.read, case)))
            if len(reading) > CASES_AHEAD:
                yield reading.popleft()
        while reading:
            yield reading.popleft()

    def _finish(self, case: Case, future: "Future[None]") -> tuple[Case, CaseProblem | None]:
        try:
            future.result()
        except Exception as error:  # a damaged file may raise anything deep in a library
            return case, problem(self.name(case), error)
        return case, None
