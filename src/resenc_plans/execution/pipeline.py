"""Cases through three stages at once: read ahead, the network here, written behind."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from resenc_plans.errors import ResencPlansError

Case = TypeVar("Case")
Read = TypeVar("Read")
Predicted = TypeVar("Predicted")

CASES_AHEAD = 2
"""Cases that are read while the network works; with one in the network and one per worker behind
it, all that is held."""


@dataclass(frozen=True)
class Pipeline(Generic[Case, Read, Predicted]):
    """Three stages; `predict` is called in the thread of `run`, the others in threads of theirs."""

    read: Callable[[Case], Read]
    predict: Callable[[Case, Read], Predicted]
    write: Callable[[Case, Predicted], None]
    workers: int = 1
    """Threads that read, and as many that write."""

    def run(self, cases: Sequence[Case]) -> Iterator[tuple[Case, str | None]]:
        """Each case when it is done, and why if it failed. Written cases may come after later ones.

        When the caller stops asking, what was begun is finished and the rest is left.
        """
        behind: deque[tuple[Case, Future[None]]] = deque()
        readers, writers = ThreadPoolExecutor(self.workers), ThreadPoolExecutor(self.workers)
        try:
            for case, future in self._ahead(readers, cases):
                predicted = self._predicted(case, future)
                del future
                if isinstance(predicted, _Failure):
                    yield case, predicted.reason
                    continue
                while len(behind) >= self.workers:
                    yield _outcome(*behind.popleft())
                behind.append((case, writers.submit(self.write, case, predicted)))
                del predicted
            while behind:
                yield _outcome(*behind.popleft())
        finally:
            for pool in (readers, writers):
                pool.shutdown(cancel_futures=True)

    def _predicted(self, case: Case, future: "Future[Read]") -> "Predicted | _Failure":
        try:
            return self.predict(case, future.result())
        except Exception as error:  # a damaged file may raise anything deep in a library
            return _Failure(_reason(error))

    def _ahead(
        self, pool: ThreadPoolExecutor, cases: Sequence[Case]
    ) -> "Iterator[tuple[Case, Future[Read]]]":
        waiting: deque[tuple[Case, Future[Read]]] = deque()
        for case in cases:
            waiting.append((case, pool.submit(self.read, case)))
            if len(waiting) > CASES_AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


@dataclass(frozen=True)
class _Failure:
    reason: str


def _outcome(case: Case, future: "Future[None]") -> tuple[Case, str | None]:
    try:
        future.result()
    except Exception as error:  # a damaged file may raise anything deep in a library
        return case, _reason(error)
    return case, None


def _reason(error: Exception) -> str:
    if isinstance(error, ResencPlansError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for it."
    return f"{type(error).__name__}: {error}"
