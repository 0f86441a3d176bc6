"""Worker processes whose death fails one task only, and names it.

When the system kills one of the processes of `concurrent.futures.ProcessPoolExecutor`, all its
tasks fail, and nothing tells which one the process was doing. `LocalWorkers` has the same
interface: each process has one task at a time and a pipe of its own, so its death is noticed at
once, the task's future gets a `WorkerError`, and another process takes its place.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from resenc_plans.errors import WorkerError, WorkerStartError, first_line
from resenc_plans.execution.cpus import checked_workers
from resenc_plans.execution.parents import end_with_parent

P = ParamSpec("P")
T = TypeVar("T")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_READY = b"ready"
MAX_FAILED_STARTS = 2
"""In a row, after which no more processes are started."""


@dataclass(frozen=True)
class _Task:
    future: Future[Any]
    work: bytes


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: _Task | None = None
    is_ready: bool = False


class LocalWorkers(Executor):
    """A pool of processes on this machine, each with `threads` threads for its arithmetic.

    The processes end when the pool is shut down, when this process ends for whatever reason, and
    immediately on `kill`.
    """

    def __init__(self, processes: int, threads: int = 1) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._processes = checked_workers(processes)
        self._threads = threads
        self._waiting: deque[_Task] = deque()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._failed_starts = 0
        """In a row."""
        self._failure: WorkerStartError | None = None
        """Why no process can be started."""
        self._wake_reader, self._wake_writer = self._context.Pipe(duplex=False)
        self._dispatcher = threading.Thread(target=self._dispatch, daemon=True)
        self._dispatcher.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do `fn(*args, **kwargs)` in one of the processes; all of it must be picklable."""
        future: Future[T] = Future()
        task = _Task(future, pickle.dumps((fn, args, kwargs)))
        with self._lock:
            if self._failure is not None:
                future.set_exception(self._failure)
                return future
            if self._closed:
                raise RuntimeError("these workers have been shut down")
            self._waiting.append(task)
            self._wake()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when their tasks are done; `cancel_futures` drops waiting tasks."""
        with self._lock:
            if cancel_futures:
                self._cancel_waiting()
            self._closed = True
            self._wake()
        if wait:
            self._dispatcher.join()

    def kill(self) -> None:
        """End all processes immediately; their tasks fail."""
        with self._lock:
            self._closed = True
            self._cancel_waiting()
            for worker in self._workers:
                worker.process.kill()
            self._wake()
        self._dispatcher.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_writer.send_bytes(b"")

    def _cancel_waiting(self) -> None:
        while self._waiting:
            future = self._waiting.popleft().future
            future.cancel()
            future.set_running_or_notify_cancel()

    def _dispatch(self) -> None:
        """Hand out tasks and collect results until the pool is closed and all tasks are done."""
        try:
            while self._assign():
                by_pipe = {worker.pipe: worker for worker in self._workers}
                for ready in wait([self._wake_reader, *by_pipe]):
                    if ready is self._wake_reader:
                        self._wake_reader.recv_bytes()
                    else:
                        self._receive(by_pipe[ready])  # type: ignore[index]
        except Exception as error:
            self._give_up(f"No worker process can be started ({first_line(error)}).")
        for worker in self._workers:
            worker.process.kill()  # idle by now, and quicker than letting the libraries unload
            worker.process.join()
            worker.pipe.close()

    def _assign(self) -> bool:
        """Give tasks to idle workers, and start workers as needed; False when nothing is left."""
        with self._lock:
            busy = sum(worker.task is not None for worker in self._workers)
            missing = min(self._processes, busy + len(self._waiting)) - len(self._workers)
            for _ in range(missing):
                self._workers.append(self._start())
            for worker in self._workers:
                while worker.is_ready and worker.task is None and self._waiting:
                    task = self._waiting.popleft()
                    if task.future.set_running_or_notify_cancel():
                        self._send(worker, task)
            return not self._closed or bool(self._waiting) or any(w.task for w in self._workers)

    def _send(self, worker: _Worker, task: _Task) -> None:
        worker.task = task
        with contextlib.suppress(OSError):
            worker.pipe.send_bytes(task.work)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with _threads_in_environment(self._threads):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if message == _READY:
            worker.is_ready = True
            self._failed_starts = 0
            return
        task, worker.task = worker.task, None
        if task is not None:
            succeeded, result = _loaded(message)
            if succeeded:
                task.future.set_result(result)
            else:
                task.future.set_exception(result)

    def _bury(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join()
        with self._lock:
            self._workers.remove(worker)
        if worker.task is not None:
            worker.task.future.set_exception(WorkerError(_cause_of_death(worker.process)))
        elif not worker.is_ready and not self._closed:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                self._give_up(f"Worker processes end as they start: {_why_not_started(worker)}")

    def _give_up(self, reason: str) -> None:
        """Fail all tasks, and those that come yet."""
        error = WorkerStartError(reason)
        with self._lock:
            self._closed, self._failure = True, error
            for worker in self._workers:
                if worker.task is not None:
                    worker.task.future.set_exception(error)
                    worker.task = None
            while self._waiting:
                future = self._waiting.popleft().future
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)


def _serve(pipe: Connection) -> None:
    """Do one task after the other in a worker process, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    pipe.send_bytes(_READY)
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(message)
        with contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(answer)


def _answer(message: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(message)  # noqa: S301 - from our own process
        return pickle.dumps((True, function(*args, **kwargs)))
    except Exception as error:
        answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        with contextlib.suppress(Exception):
            faithful = pickle.dumps((False, error))
            if isinstance(_loaded(faithful)[1], type(error)):
                answer = faithful
        return answer


def _loaded(message: bytes) -> tuple[bool, Any]:
    """Whether a task succeeded, and its result or its exception."""
    try:
        succeeded, result = pickle.loads(message)  # noqa: S301 - from our own process
    except Exception as error:
        return False, RuntimeError(f"the result cannot be read: {type(error).__name__}: {error}")
    return succeeded, result


def _why_not_started(worker: _Worker) -> str:
    cause = _cause_of_death(worker.process)
    if (worker.process.exitcode or 0) < 0:
        return f"{cause}. Use fewer workers, or make more memory available."
    return (
        f"{cause}. A script that uses them must run its code under "
        '`if __name__ == "__main__":`, since each worker imports the script.'
    )


def _cause_of_death(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        hint = ", perhaps by the system for lack of memory" if -code == signal.SIGKILL else ""
        return f"its worker process was killed ({name}{hint})"
    return f"its worker process ended with code {code}"


@contextlib.contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Set the variables from which numerical libraries read their number of threads on loading."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
