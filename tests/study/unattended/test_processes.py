"""Jobs here take turns on the GPUs; those on a cluster end with the run that they are of."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.locks import HeldLock, lock
from resenc_plans.study.unattended.graph import Job
from resenc_plans.study.unattended.jobs import JobOptions
from resenc_plans.study.unattended.places import StudyPlaces
from resenc_plans.study.unattended.processes import JobCommand, run_command, run_here, run_on


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, "subprocess.Popen[bytes]"]:
    """The processes of jobs, by name; those named `long` last a minute."""
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(command: JobCommand) -> "subprocess.Popen[bytes]":
        name = command.job.name
        seconds = 60 if name.startswith("long") else 0
        code = f"import time; time.sleep({seconds})"
        processes[name] = subprocess.Popen([sys.executable, "-S", "-c", code])
        return processes[name]

    monkeypatch.setattr(JobCommand, "start", start)
    return processes


def commands(folder: Path, *names: str) -> list[JobCommand]:
    places, options = StudyPlaces(folder), JobOptions()
    return [JobCommand.of(folder / "study.json", Job(name, ()), options, places) for name in names]


def test_jobs_at_once_take_one_each_of_the_gpus_that_the_run_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    gpus: dict[str, str | None] = {}

    def start(command: JobCommand, gpu: str | None) -> "subprocess.Popen[bytes]":
        gpus[command.job.name] = gpu
        return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1)"])

    monkeypatch.setattr(JobCommand, "start", start)
    run_here([commands(tmp_path, "a", "b")], 2, lambda *_: None)
    assert gpus == {"a": "2", "b": "3"}


def test_an_interrupted_run_stops_its_jobs_and_begins_no_more(
    started: dict[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    said: list[str] = []

    def interrupt(job: Job, _: int) -> None:
        assert job.name == "short"
        while "long 1" not in started:
            time.sleep(0.01)
        raise KeyboardInterrupt

    waves = [commands(tmp_path, "short", "long 1", "long 2", "long 3")]
    with ThreadPoolExecutor(2) as executor, pytest.raises(KeyboardInterrupt):
        run_on(executor, waves, StudyPlaces(tmp_path), interrupt, said.append)
    assert all(process.returncode is not None for process in started.values())
    assert started["long 1"].returncode != 0
    assert "long 3" not in started
    assert said == ["Jobs on the cluster are asked to stop, and waited for."]


def test_jobs_of_a_run_that_was_killed_stop_when_the_next_begins(
    started: dict[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    places = StudyPlaces(tmp_path)
    [command] = commands(tmp_path, "long")
    codes: list[int] = []
    places.state_folder.mkdir()
    with lock(places.cluster_lock, tmp_path) as held:
        left = JobCommand(command.study, command.job, command.options, command.log, held)
        worker = threading.Thread(target=lambda: codes.append(run_command(left)))
        worker.start()
        while "long" not in started:
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as executor:
            ended: list[str] = []
            waves = [commands(tmp_path, "short")]
            run_on(executor, waves, places, lambda job, _: ended.append(job.name), str)
        worker.join()
    assert ended == ["short"]
    assert codes != [0]


def test_a_job_whose_run_has_ended_does_not_begin(
    started: dict[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    [command] = commands(tmp_path, "short")
    ended = HeldLock(tmp_path / "absent.lock", "token")
    late = JobCommand(command.study, command.job, command.options, command.log, ended)
    assert run_command(late) == ExitCode.STOPPED
    assert started == {}
    assert run_command(command) == 0
