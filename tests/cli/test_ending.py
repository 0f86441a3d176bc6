"""How commands end: what their exit codes say is true, whatever befalls them."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.core import TyperGroup
from typer.main import get_command

from resenc_plans.cli.app import app, main
from resenc_plans.cli.ending import exit_code_of
from resenc_plans.errors import PlansError, WorkerError, WorkerStartError
from resenc_plans.execution.changes import note_change
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.processes import LocalWorkers
from resenc_plans.training.batches import batches
from tests.cli.conftest import Done
from tests.cli.scenes import PLANS, SCENES, write_files

pytestmark = pytest.mark.slow

Run = Callable[..., Done]
Files = dict[str, bytes | None]

NOBODY = 65534
DISK = 24 << 20
"""Bytes of the disk that is filled."""
NOT_THE_COMMANDS = ("fill", "settings")


def commands(**conditions: bool) -> list[str]:
    """The commands whose scenes have these attributes."""
    return [
        name
        for name, scene in SCENES.items()
        if all(getattr(scene, key) == value for key, value in conditions.items())
    ]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks so small are slower with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "made"
    write_files(folder)
    return folder


@pytest.fixture
def call(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], Done]:
    """Call a command with the arguments of its scene, in a copy of the files."""

    def call(name: str, folder: Path) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "settings"))
        return run(name, *SCENES[name].arguments.split())

    return call


def files_in(folder: Path) -> Files:
    """Every file with its bytes, and every folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in NOT_THE_COMMANDS
    }


def assert_true(name: str, done: Done, before: Files, after: Files) -> None:
    """The exit code of a command that could not write tells what it did."""
    said = done.out + done.err
    if not SCENES[name].writes:
        assert done.code == SCENES[name].code, said
        assert after == before
        return
    assert done.code in (ExitCode.FAILED, ExitCode.NOTHING_DONE), said
    written = {path for path, content in after.items() if before.get(path, b"") != content}
    changed = {path for path in written if after[path] is not None} | (before.keys() - after.keys())
    assert (done.code == ExitCode.NOTHING_DONE) <= (not changed), (changed, said)
    assert not [path for path in after if ".tmp" in path or ".writing" in path], said
    assert "imagesTr/a_0000" not in said, "the input is blamed"
    assert "images/a_0000" not in said, "the input is blamed"


def test_every_command_has_a_scene() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    single = {n for n, command in group.commands.items() if not isinstance(command, TyperGroup)}
    assert set(SCENES) == single, "tests/cli/test_study.py has those of `study`"


@contextmanager
def full_disk(made: Path, room: int) -> Iterator[Path]:
    """A copy of the files on a disk of its own with so many free bytes."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root can mount a small disk; RLIMIT_FSIZE is tested nonetheless")
        stack.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        stack.callback(os.chdir, made)
        copy = Path(folder) / "made"
        shutil.copytree(made, copy)
        with (copy / "fill").open("wb", buffering=0) as stream:
            stream.write(bytes(DISK - room))
            stream.truncate(max(0, stream.tell() - room))
        yield copy


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No process may write a file that is larger, as by `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", commands())
def test_a_full_disk_is_told_and_the_exit_code_is_true(
    name: str, made: Path, call: Callable[[str, Path], Done]
) -> None:
    with full_disk(made, room=0) as folder:
        before = files_in(folder)
        done = call(name, folder)
        assert_true(name, done, before, files_in(folder))
    if SCENES[name].writes:
        assert done.code == ExitCode.NOTHING_DONE
        assert "the disk is full" in done.err


@pytest.mark.parametrize("name", commands(case_by_case=True))
def test_a_disk_that_gets_full_halfway_is_told_and_the_exit_code_is_true(
    name: str, made: Path, call: Callable[[str, Path], Done]
) -> None:
    with full_disk(made, room=20 << 10) as folder:
        before = files_in(folder)
        done = call(name, folder)
        assert_true(name, done, before, files_in(folder))
    assert done.code == ExitCode.FAILED
    assert "the disk is full" in done.out + done.err


@pytest.mark.parametrize("name", commands(writes=True))
def test_a_limit_of_file_size_is_told_and_the_exit_code_is_true(
    name: str, made: Path, tmp_path: Path, call: Callable[[str, Path], Done]
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    before = files_in(folder)
    with largest_file(64):
        done = call(name, folder)
    assert_true(name, done, before, files_in(folder))
    assert "larger than this process may write" in done.out + done.err


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """A user that may read `folder`, and write nowhere in it."""
    if os.geteuid() != 0:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555)
        yield
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        if not os.access(__file__, os.R_OK, effective_ids=True):
            pytest.skip("a user without privileges cannot read the sources here")
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("name", commands())
def test_a_folder_that_is_read_only_is_told_and_stays_as_it_is(
    name: str, made: Path, call: Callable[[str, Path], Done]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        folder = shutil.copytree(made, Path(root) / "made")
        (folder / "settings").mkdir()
        before = files_in(folder)
        with nobody(folder):
            done = call(name, folder)
        os.chdir(made)
        assert files_in(folder) == before
    assert_true(name, done, before, before)
    if SCENES[name].writes:
        assert done.code == ExitCode.NOTHING_DONE, done
        assert "no permission" in done.err


@contextmanager
def closed_pipe() -> Iterator[None]:
    """stdout as a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    former = sys.stdout
    with os.fdopen(write, "w") as sys.stdout:
        try:
            yield
        finally:
            sys.stdout = former


@pytest.mark.parametrize("name", commands())
def test_a_closed_pipe_is_no_error_and_loses_no_file(
    name: str, made: Path, tmp_path: Path, call: Callable[[str, Path], Done]
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    with closed_pipe():
        done = call(name, folder)
    assert done.code == SCENES[name].code, done.err
    assert (files_in(folder) != files_in(made)) == SCENES[name].writes
    assert not done.out


class Witness(StringIO):
    """A stdout that remembers which files existed when the first text came."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.seen: Files | None = None

    def write(self, text: str) -> int:
        if self.seen is None:
            self.seen = files_in(self.folder)
        return super().write(text)


@pytest.mark.parametrize("name", commands(case_by_case=False, writes=True))
def test_a_command_writes_first_and_prints_then(
    name: str, made: Path, tmp_path: Path, call: Callable[[str, Path], Done]
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    with redirect_stdout(Witness(folder)) as witness:
        assert call(name, folder).code == SCENES[name].code
    assert witness.seen in (None, files_in(folder))


def test_head_gets_its_lines_and_the_plans_are_written(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    command = f"{sys.executable} -u -m resenc_plans create {SCENES['create'].arguments}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("configuration")
    assert (folder / f"{PLANS.rpartition('/')[0]}/New.json").is_file()


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-"])
def test_no_stdout_at_all_is_no_error(made: Path, tmp_path: Path, redirection: str) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    command = f"{sys.executable} -m resenc_plans derive {SCENES['derive'].arguments}"
    done = subprocess.run(["bash", "-c", f"{command} {redirection}"], cwd=folder)
    assert done.returncode == 0
    assert "three" in (folder / PLANS).read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_a_result_that_cannot_be_printed_is_exit_code_1_and_loses_no_file(
    made: Path, tmp_path: Path, call: Callable[[str, Path], Done]
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        done = call("derive", folder)
    assert done.code == ExitCode.FAILED
    assert done.err == "Error: the result cannot be printed: No space left on device.\n"
    assert "three" in (folder / PLANS).read_text()


@contextmanager
def signal_at(number: signal.Signals, *_: object) -> Iterator[Callable[[object], None]]:
    """A display of progress that gets a signal with the first case."""
    yield lambda _: signal.raise_signal(number)


DISPLAYS = {
    "preprocess": "resenc_plans.cli.commands.preprocess.case_progress",
    "predict": "resenc_plans.cli.commands.predict.prediction_progress",
    "train": "resenc_plans.cli.training_progress.shown_progress",
}
"""What shows the progress of the commands that can be resumed."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", DISPLAYS)
def test_what_can_be_resumed_is_75_when_stopped(
    name: str,
    number: signal.Signals,
    made: Path,
    tmp_path: Path,
    call: Callable[[str, Path], Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    with monkeypatch.context() as patch:
        patch.setattr(DISPLAYS[name], partial(signal_at, number))
        done = call(name, folder)
    assert done.code == ExitCode.STOPPED
    assert done.err.splitlines()[-1].startswith("Stopped")
    more = {"predict": " --continue", "train": " --resume"}.get(name, "")
    monkeypatch.setitem(
        SCENES, name, replace(SCENES[name], arguments=SCENES[name].arguments + more)
    )
    assert call(name, folder).code == ExitCode.DONE


def test_a_training_that_is_stopped_while_it_validates_is_75(
    made: Path,
    tmp_path: Path,
    call: Callable[[str, Path], Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "resenc_plans.workflows.held_out.validate_held_out",
        lambda *_, **__: signal.raise_signal(signal.SIGTERM),
    )
    done = call("train", shutil.copytree(made, tmp_path / "made"))
    assert done.code == ExitCode.STOPPED
    assert done.err.endswith("Stopped by SIGTERM. Continue with --resume.\n")


def test_lost_workers_of_preprocessing_are_exit_code_1(
    made: Path,
    tmp_path: Path,
    call: Callable[[str, Path], Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send_and_kill(self: LocalWorkers, worker: Any, task: Any) -> None:
        worker.task = task
        os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(LocalWorkers, "_send", send_and_kill)
    done = call("preprocess", shutil.copytree(made, tmp_path / "made"))
    assert done.code == ExitCode.FAILED
    assert "0 cases stored" in done.out
    assert "its worker process was killed (SIGKILL" in done.out


def test_a_lost_loader_of_a_training_is_exit_code_1(
    made: Path,
    tmp_path: Path,
    call: Callable[[str, Path], Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_and_kill(loader: Any) -> Any:
        batches, workers = start(loader)
        for worker in workers:
            worker.kill()
        return batches, workers

    start = batches._start
    monkeypatch.setattr(batches, "_start", start_and_kill)
    done = call("train", shutil.copytree(made, tmp_path / "made"))
    assert done.code == ExitCode.FAILED
    assert "A process that loads data was killed" in done.err


def test_a_training_that_cannot_write_its_last_checkpoint_is_exit_code_1(
    made: Path,
    tmp_path: Path,
    call: Callable[[str, Path], Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(made, tmp_path / "made")
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"workers": 0}))
    with largest_file(12_000):  # enough for records
        done = call("train", folder)
    assert done.code == ExitCode.FAILED
    assert "checkpoint_final.pth: not written, it is larger than this process may" in done.err
    assert "resume the training" in done.err


@pytest.mark.parametrize(
    ("error", "is_changed", "code"),
    [
        (PlansError("wrong"), False, ExitCode.NOTHING_DONE),
        (PlansError("wrong"), True, ExitCode.FAILED),
        (WorkerError("gone"), False, ExitCode.FAILED),
        (WorkerStartError("no script"), False, ExitCode.NOTHING_DONE),
        (MemoryError(), False, ExitCode.NOTHING_DONE),
        (OSError(errno.EIO, "Input/output error", "image.nii"), False, ExitCode.NOTHING_DONE),
        (KeyboardInterrupt(), True, ExitCode.INTERRUPTED),
        (SystemExit(7), True, 7),
        (SystemExit(None), False, ExitCode.DONE),
        (SystemExit("a reason"), False, ExitCode.FAILED),
        (KeyError("x"), False, ExitCode.FAULT),
        (OSError("no file"), False, ExitCode.FAULT),
    ],
)
def test_an_error_has_the_exit_code_of_what_was_done(
    error: BaseException, is_changed: bool, code: int
) -> None:
    def command() -> None:
        if is_changed:
            note_change()
        raise error

    note_change()  # of an earlier command
    assert exit_code_of(command) == code


@pytest.mark.parametrize("options", [(), ("--verbose",), ("--log-file", "log.txt")])
def test_a_fault_of_ours_is_70_and_shows_or_keeps_its_traceback(
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    def break_down(*_: object) -> None:
        raise KeyError("a key")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resenc_plans.cli.scope.find_plans", break_down)
    monkeypatch.setattr(sys, "argv", ["resenc-plans", *options, "resolve", "x"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == ExitCode.FAULT
    said = capsys.readouterr().err
    log = Path("log.txt").read_text() if "--log-file" in options else said
    assert log.count("Traceback") == 1
    assert "in break_down" in log
    assert said.count("Traceback") == (0 if "--log-file" in options else 1)
    *_, sentence = said.splitlines()
    place = f"in {tmp_path / 'log.txt'}" if "--log-file" in options else "above"
    assert sentence == (
        "Error: this is a fault of resenc-plans, not of your data: KeyError: 'a key'. Please "
        f"report it with the traceback {place}."
    )


def test_the_exit_codes_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "README.md").read_text()
    for code in set(ExitCode) - {ExitCode.LOST}:
        assert f"| {code.value} |" in page
