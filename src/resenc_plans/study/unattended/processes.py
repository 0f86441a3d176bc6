"""Jobs in processes of their own, on this machine or on a Dask cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.gpus import usable_gpus
from resenc_plans.execution.locks import HeldLock, LockWatch, lock
from resenc_plans.files import make_folder
from resenc_plans.study.unattended.graph import Job
from resenc_plans.study.unattended.jobs import JobOptions
from resenc_plans.study.unattended.places import StudyPlaces

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_SIGNS = 1.0
"""How often a job on a cluster looks whether its run goes on."""
_SECONDS_TO_STOP = 120
"""That a job has to write a checkpoint once it is asked to stop."""
LOST = -9
"""In place of the exit code of a job whose Dask workers died."""


@dataclass(frozen=True)
class JobCommand:
    """How a job is started, wherever that is."""

    study: Path
    job: Job
    options: JobOptions
    log: Path
    run: HeldLock | None = None
    """Of a job on a cluster: what the run that it is of holds; it ends when that does."""
    key: str | None = None
    """What decides the job, see `do_job`."""

    @classmethod
    def of(
        cls,
        study: Path,
        job: Job,
        options: JobOptions,
        places: StudyPlaces,
        key: str | None = None,
    ) -> "JobCommand":
        """The command of a job of a study."""
        return cls(study.absolute(), job, options, places.job_log(job), key=key)

    @property
    def arguments(self) -> list[str]:
        """Of the command `resenc-plans`."""
        return [
            *("study", "job", str(self.study), self.job.name),
            *self.options.arguments,
            *(("--key", self.key) if self.key else ()),
        ]

    def start(self, gpu: str | None = None) -> "subprocess.Popen[bytes]":
        """Start it; it ends when this process does. What it prints goes to its log."""
        make_folder(self.log.parent)
        parent = ["--parent", str(os.getpid())]
        environment = dict(os.environ)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "resenc_plans", *self.arguments, *parent],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )


def run_here(
    waves: Iterable[Sequence[JobCommand]], at_once: int, on_end: Callable[[Job, int], object]
) -> None:
    """Run jobs on this machine, so many at a time, one wave after the other.

    On an interruption, those that run are asked to stop, and waited for.
    """
    gpus = usable_gpus() if at_once > 1 else ()
    running: dict[subprocess.Popen[bytes], tuple[Job, int]] = {}
    try:
        for wave in waves:
            waiting = list(wave)
            while waiting or running:
                while waiting and len(running) < at_once:
                    command = waiting.pop(0)
                    taken = {place for _, place in running.values()}
                    place = next(number for number in range(at_once) if number not in taken)
                    gpu = gpus[place % len(gpus)] if gpus else None
                    running[command.start(gpu)] = command.job, place
                for process in [one for one in running if one.poll() is not None]:
                    job, _ = running.pop(process)
                    on_end(job, process.returncode)
                time.sleep(_SECONDS_BETWEEN_LOOKS if running else 0)
    finally:
        _stop(running)


def _stop(processes: Iterable["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + _SECONDS_TO_STOP
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, end - time.monotonic()))
        process.kill()
        process.wait()


def run_on(
    executor: Executor,
    waves: Iterable[Sequence[JobCommand]],
    places: StudyPlaces,
    on_end: Callable[[Job, int], object],
    on_progress: Callable[[str], object],
) -> None:
    """Run jobs on the workers of a Dask cluster, one wave after the other.

    Dask gives the job of a lost worker to another one, which goes on from the last checkpoint. On
    an interruption, jobs that run are asked to stop, and waited for; those that wait do not begin.
    Those of a run that was killed stop too: at once when the next one begins, else once its lock
    counts as that of a process that is gone.

    Raises
    ------
    FileError
        The lock that tells workers of the run cannot be written.
    """
    futures: dict[Future[int], Job] = {}
    make_folder(places.state_folder)
    places.cluster_lock.unlink(missing_ok=True)
    with ExitStack() as going_on:
        run = going_on.enter_context(lock(places.cluster_lock, places.root))
        try:
            for wave in waves:
                futures = {
                    executor.submit(run_command, replace(command, run=run)): command.job
                    for command in wave
                }
                for future in _as_completed(futures):
                    error = future.exception()
                    on_end(futures[future], LOST if error is not None else future.result())
        except BaseException:
            going_on.close()
            on_progress("Jobs on the cluster are asked to stop, and waited for.")
            _, left = wait(futures, timeout=_SECONDS_TO_STOP)
            for future in left:
                future.cancel()
            raise


def _as_completed(futures: Iterable[Future[int]]) -> Iterator[Future[int]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from done


def run_command(command: JobCommand) -> int:
    """Run a job in a process of its own, and wait for it; its exit code.

    It is asked to stop when its run has ended.
    """
    watch = None if command.run is None else LockWatch(command.run)
    if watch is not None and not watch.is_held():
        return ExitCode.STOPPED
    process = command.start()
    try:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(None if watch is None else _SECONDS_BETWEEN_SIGNS)
            if watch is not None and not watch.is_held():
                break
    finally:
        _stop([process])
    return process.returncode


def is_failure(code: int) -> bool:
    """Whether a job's exit code says that it is not done."""
    return code != ExitCode.DONE
