"""One process at a time; a lock whose holder is gone is taken over, by one process only."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import LockedError
from resenc_plans.execution.locks import (
    SECONDS_UNTIL_STALE,
    HeldLock,
    Holder,
    LockWatch,
    lock,
)

HOLD = """
import sys
from pathlib import Path
from resenc_plans.execution.locks import lock
with lock(Path(sys.argv[1]), Path(sys.argv[1]).parent):
    print("has it", flush=True)
    sys.stdin.read()
"""
TAKERS = 6

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to look up processes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def leave_lock(path: Path, *, age: float = 0.0, **changes: Any) -> None:
    """A lock of this process, or of what `changes` say, last touched `age` seconds ago."""
    document = vars(Holder.this_process()) | {"token": "another"} | changes
    path.write_text(json.dumps(document))
    touched = time.time() - age
    os.utime(path, (touched, touched))


def started_holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


def test_a_second_process_is_told_who_has_the_lock_and_what_to_do(path: Path) -> None:
    with started_holder(path) as holder:
        with pytest.raises(LockedError) as caught, lock(path, path.parent):
            pass
        assert holder.stdin is not None
        holder.stdin.close()
    message = str(caught.value)
    assert str(path.parent) in message
    assert f"process {holder.pid} on host {socket.gethostname()}" in message
    assert time.strftime("since %Y-", time.gmtime()) in message
    assert "Wait for it to end, or end it." in message


def test_a_lock_is_released_and_leaves_nothing(path: Path) -> None:
    with lock(path, path.parent):
        assert path.exists()
    with lock(path, path.parent):
        pass
    assert list(path.parent.iterdir()) == []


@on_linux
def test_the_lock_of_a_killed_process_is_taken_over_at_once(path: Path) -> None:
    with started_holder(path) as holder:
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        with lock(path, path.parent):
            now = Holder.read(path)
            assert now is not None
            assert now.process == os.getpid()
    assert list(path.parent.iterdir()) == []


@on_linux
@pytest.mark.parametrize("change", [{"start": "1"}, {"boot": "of yesterday"}])
def test_a_later_process_of_the_same_pid_is_not_the_holder(
    path: Path, change: dict[str, Any]
) -> None:
    leave_lock(path, **change)
    with lock(path, path.parent):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"namespace": "pid:[7]"}, {"start": ""}])
def test_elsewhere_the_last_sign_of_life_decides(path: Path, elsewhere: dict[str, Any]) -> None:
    leave_lock(path, age=SECONDS_UNTIL_STALE - 60, process=1, **elsewhere)
    with pytest.raises(LockedError, match="process 1 on host"), lock(path, path.parent):
        pass
    leave_lock(path, age=SECONDS_UNTIL_STALE + 60, process=os.getpid(), **elsewhere)
    with lock(path, path.parent):
        pass


def test_a_holder_of_another_host_is_told_with_the_time_after_which_it_is_gone(path: Path) -> None:
    leave_lock(path, host="node7")
    message = r"host node7 .*\. If .* free 5 minutes after its last sign of life"
    with pytest.raises(LockedError, match=message), lock(path, path.parent):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}'])
def test_a_damaged_lock_is_respected_until_it_is_old(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(LockedError, match="unknown host"), lock(path, path.parent):
        pass
    os.utime(path, (0, 0))
    with lock(path, path.parent):
        pass


def test_a_holder_touches_its_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resenc_plans.execution.locks.SECONDS_BETWEEN_SIGNS", 0.01)
    with lock(path, path.parent):
        os.utime(path, (0, 0))
        wait_until(lambda: path.stat().st_mtime > 0)


def test_a_holder_does_not_touch_or_remove_the_lock_of_its_successor(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("resenc_plans.execution.locks.SECONDS_BETWEEN_SIGNS", 0.01)
    with lock(path, path.parent):
        leave_lock(path, host="node7", age=1000)
        wait_until(lambda: "has lost its lock" in caplog.text)
    assert time.time() - path.stat().st_mtime > 900


def test_a_successor_killed_before_it_had_the_lock_is_succeeded(path: Path) -> None:
    gone: dict[str, Any] = {"host": "node7", "age": SECONDS_UNTIL_STALE + 60}
    leave_lock(path, token="first", **gone)
    leave_lock(path.with_name("lock.first"), token="second", **gone)
    with lock(path, path.parent):
        pass
    assert list(path.parent.iterdir()) == []
    leave_lock(path, token="first", **gone)
    leave_lock(path.with_name("lock.first"), host="node8", process=8)
    with pytest.raises(LockedError, match="process 8 on host node8"), lock(path, path.parent):
        pass


def test_a_file_system_without_hard_links_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*paths: Path) -> None:
        raise PermissionError(paths)

    monkeypatch.setattr(os, "link", link)
    leave_lock(path, host="node7", age=SECONDS_UNTIL_STALE + 60)
    with lock(path, path.parent), pytest.raises(LockedError), lock(path, path.parent):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.slow
@on_linux
def test_of_many_takers_one_at_a_time_has_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    leave_lock(path, start="1")
    context = multiprocessing.get_context("spawn")
    takers = [context.Process(target=take_often, args=(path,)) for _ in range(TAKERS)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert [taker.exitcode for taker in takers] == [0] * TAKERS
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def take_often(path: Path) -> None:
    """Have the lock a few times, and each time leave it as one whose holder is gone."""
    mine = path.parent / "mine"
    for _ in range(20):
        while True:
            try:
                with lock(path, path.parent):
                    mine.touch(exist_ok=False)
                    time.sleep(0.001)
                    mine.unlink()
                    holder = Holder.read(path)
                    assert holder is not None
                    assert holder.process == os.getpid()
                    changed = path.with_name(f"{path.name}.changed.{os.getpid()}")
                    leave_lock(changed, start="1", token=holder.token + "x")
                    changed.replace(path)
                break
            except LockedError:
                pass


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_others_see_whether_a_lock_is_held_and_its_holder_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.lock"
    with lock(path, tmp_path) as held:
        watch = LockWatch(held)
        assert watch.is_held()
        assert not LockWatch(HeldLock(path, "that of another")).is_held()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + SECONDS_UNTIL_STALE + 1)
        assert not watch.is_held(), "there was no sign of life"
        os.utime(path, (1, 1))
        assert watch.is_held()
        watch.expect_held()
    assert not watch.is_held()
    with pytest.raises(LockedError, match="has ended, or has lost its lock"):
        watch.expect_held()
