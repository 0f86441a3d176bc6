"""Processes that bear a mark in their environment, which their children inherit, on Linux."""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "RESENC_PLANS_KILLS_MARK"


def find(token: str) -> list[int]:
    """The pids of all processes with this mark, in order; those that have ended have none."""
    entry = f"{MARK}={token}".encode()
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return sorted(pid for pid in pids if entry in _environment(pid))


def value_of(pid: int, variable: str) -> str | None:
    """An environment variable of a process; None where it is not set, or the process has ended."""
    start = f"{variable}=".encode()
    values = [entry[len(start) :] for entry in _environment(pid) if entry.startswith(start)]
    return values[0].decode() if values else None


def parent_of(pid: int) -> int:
    """The pid of a process's parent; 0 where the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def wait_until_gone(token: str, seconds: float) -> list[int]:
    """Those that are left after so many seconds; returns as soon as none is."""
    deadline = time.monotonic() + seconds
    while (left := find(token)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def kill(token: str) -> None:
    """End what is left, so that it disturbs nothing later."""
    for pid in find(token):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
