"""Worker processes that may be lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Never

import pytest

from resenc_plans.errors import DatasetError, WorkerError, WorkerStartError
from resenc_plans.execution.processes import LocalWorkers


def double(number: int) -> Any:
    return 2 * number


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(7)


def fail(message: str) -> Never:
    raise DatasetError(message)


class UnpicklableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail_strangely() -> Never:
    raise UnpicklableError("so", "strange")


def environment(name: str) -> Any:
    return os.environ.get(name)


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalWorkers]:
    with LocalWorkers(2) as workers:
        yield workers


def test_results_come_back(pool: LocalWorkers) -> None:
    assert list(pool.map(double, range(20))) == [2 * number for number in range(20)]


def test_exceptions_come_back(pool: LocalWorkers) -> None:
    with pytest.raises(DatasetError, match="a message"):
        pool.submit(fail, "a message").result()
    with pytest.raises(RuntimeError, match="UnpicklableError: so strange"):
        pool.submit(fail_strangely).result()


def test_a_death_fails_one_task_and_names_the_signal(pool: LocalWorkers) -> None:
    futures = [pool.submit(double, 1), pool.submit(die), *(pool.submit(double, n) for n in (2, 3))]

    with pytest.raises(WorkerError, match=r"killed .SIGKILL, perhaps by the system for lack"):
        futures[1].result(timeout=30)
    assert [f.result(timeout=30) for f in (futures[0], *futures[2:])] == [2, 4, 6]


def test_a_process_that_leaves_is_told_by_its_code(pool: LocalWorkers) -> None:
    with pytest.raises(WorkerError, match="ended with code 7"):
        pool.submit(leave).result(timeout=30)


def test_threads_of_libraries_are_set_before_they_load(pool: LocalWorkers) -> None:
    before = os.environ.get("OPENBLAS_NUM_THREADS")

    assert pool.submit(environment, "OPENBLAS_NUM_THREADS").result() == "1"
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before


def test_killing_ends_everything_at_once() -> None:
    workers = LocalWorkers(1)
    futures = [workers.submit(time.sleep, 60) for _ in range(3)]
    threading.Timer(0.3, workers.kill).start()

    done, _ = wait(futures, timeout=20)

    assert len(done) == 3
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(double, 1)


def test_when_no_process_can_be_started_all_tasks_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(BaseProcess, "start", refuse)
    with LocalWorkers(2) as workers:
        futures = [workers.submit(double, number) for number in range(3)]
        for future in futures:
            with pytest.raises(WorkerStartError, match=r"can be started .*Too many open files"):
                future.result(timeout=30)
        with pytest.raises(WorkerStartError, match="Too many open files"):
            workers.submit(double, 3).result(timeout=30)


END_AT_START = """
import os, sys
from resenc_plans.execution.processes import LocalWorkers
if __name__ != "__main__":
    {end}
with LocalWorkers(2) as workers:
    print(workers.submit(abs, -1).exception(timeout=30))
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(3)", "ended with code 3. A script that uses them must run its code under"),
        ("os.kill(os.getpid(), 9)", "SIGKILL, perhaps by the system for lack of memory). Use"),
        ("pass", "can be started (An attempt has been made to start a new process before"),
    ],
)
def test_why_workers_do_not_start_is_said(tmp_path: Path, end: str, said: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(END_AT_START.format(end=end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert said in done.stdout, done.stderr
