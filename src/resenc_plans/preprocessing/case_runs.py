"""Tasks over an executor, one outcome each; what a lost worker had is tried once more, alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from dataclasses import dataclass

from resenc_plans.errors import ResencPlansError
from resenc_plans.execution.processes import WorkerDiedError, WorkersNotStartedError
from resenc_plans.preprocessing.store.manifest import ManifestEntry
from resenc_plans.preprocessing.store_case import CaseTask, store_case


@dataclass(frozen=True)
class CaseProblem:
    """Why a case is not stored."""

    case: str
    reason: str

    def __str__(self) -> str:
        return f"{self.case}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task, for now or for good."""

    task: CaseTask
    entry: ManifestEntry | None = None
    problem: CaseProblem | None = None
    will_be_retried: bool = False


def run_tasks(tasks: Sequence[CaseTask], executor: Executor) -> Iterator[Outcome]:
    """Do all tasks; yields each outcome as soon as it is there.

    Raises
    ------
    WorkersNotStartedError
        There is no worker to do anything.
    """
    futures: dict[Future[ManifestEntry], CaseTask] = {}
    lost: list[CaseTask] = []
    try:
        for task in tasks:
            futures[_submit(executor, task)] = task
        for future in as_completed(futures):
            outcome = _outcome(future, futures[future], may_retry=True)
            if outcome.will_be_retried:
                lost.append(outcome.task)
            yield outcome
        for task in lost:
            last = _submit(executor, task)
            futures[last] = task
            yield _outcome(last, task, may_retry=False)
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _submit(executor: Executor, task: CaseTask) -> Future[ManifestEntry]:
    try:
        return executor.submit(store_case, task)
    except BrokenExecutor as error:
        failed: Future[ManifestEntry] = Future()
        failed.set_exception(error)
        return failed


def _outcome(future: Future[ManifestEntry], task: CaseTask, may_retry: bool) -> Outcome:
    try:
        return Outcome(task, entry=future.result())
    except WorkersNotStartedError:
        raise
    except ResencPlansError as error:
        retry = may_retry and isinstance(error, WorkerDiedError)
        return Outcome(task, problem=_problem(task, str(error)), will_be_retried=retry)
    except CancelledError:
        return Outcome(task, problem=_problem(task, "it was cancelled"))
    except Exception as error:
        retry = may_retry and _is_loss(error)
        reason = f"{type(error).__name__}: {error}"
        return Outcome(task, problem=_problem(task, reason), will_be_retried=retry)


def _is_loss(error: Exception) -> bool:
    """Whether the worker failed rather than the case; Dask's KilledWorker goes by its name."""
    return isinstance(error, MemoryError | BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _problem(task: CaseTask, reason: str) -> CaseProblem:
    """The reason, with the path of the case where the reason names none of its files."""
    if task.inputs and not any(str(path) in reason for path in task.inputs):
        reason = f"{task.inputs[0]}: {reason}"
    return CaseProblem(task.case.name, reason)
