"""Locks on folders that one process at a time may write to, also on file systems that hosts share.

A lock is a file that says who holds it. Whether its holder is gone is decided on its own host by
looking for the process, elsewhere by the file's age, since the holder touches it every 30 seconds.
Age is counted by the clock of the file system, so clocks of hosts need not agree.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from resenc_plans.errors import FileError, LockedError
from resenc_plans.files import parse_json, part_of_path, why_not_written

SECONDS_BETWEEN_SIGNS = 30
"""How often a holder touches its lock."""
SECONDS_UNTIL_STALE = 300
"""Without a sign of life for so long, a holder on another host counts as gone."""

_YEAR_3000 = 32_503_680_000
"""Seconds since 1970; no lock is that young."""
_GONE = ("Z", "X")
"""States of a process that has ended, but whose parent has not asked for its exit code."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock; pids and boots mean something on its host only."""

    host: str
    boot: str
    """Identifies the time since the host was started; "" where the system does not say."""
    namespace: str
    """Identifies what the process counts pids in: containers of one host may count their own."""
    process: int
    start: str
    """When the process was started, so that its pid is not taken for that of a later process."""
    since: float
    """When it took the lock, in seconds since 1970."""
    token: str
    """Another one each time."""

    @classmethod
    def this_process(cls) -> "Holder":
        """The holder that this process becomes now."""
        process = os.getpid()
        return cls(
            host=socket.gethostname(),
            boot=_text_of("/proc/sys/kernel/random/boot_id"),
            namespace=_pid_namespace(),
            process=process,
            start=_start_of(process) or "",
            since=time.time(),
            token=secrets.token_hex(8),
        )

    @classmethod
    def read(cls, path: Path) -> "Holder | None":
        """Who a lock's file names; None where there is no file.

        A file that is being written, or damaged, names a holder of which nothing is known.
        """
        try:
            holder = cls(**parse_json(path.read_text(encoding="utf-8"), str(path)))
        except FileNotFoundError:
            return None
        except (FileError, ValueError, TypeError):
            return _UNKNOWN
        known = vars(_UNKNOWN).items()
        fits = all(isinstance(getattr(holder, name), type(value)) for name, value in known)
        return holder if fits and 0 <= holder.since < _YEAR_3000 else _UNKNOWN

    def is_gone(self, by: "Holder", silent_for: float) -> bool:
        """Whether it has ended, judged by another process.

        `silent_for` are the seconds since its last sign of life, which decide where the process
        itself cannot be looked up.
        """
        is_here = (self.host, self.namespace) == (by.host, by.namespace)
        if is_here and self.start and self.boot:
            return self.boot != by.boot or _start_of(self.process) != self.start
        return silent_for > SECONDS_UNTIL_STALE

    def describe(self, by: "Holder") -> str:
        """Who has the lock, since when, and what another process can do."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        text = (
            f"process {self.process} on host {self.host} has been writing to this folder since "
            f"{since}. Wait for it to end, or end it."
        )
        if self.host != by.host or not self.start:
            text += (
                f" If it no longer exists, the folder is free {SECONDS_UNTIL_STALE // 60} minutes "
                "after its last sign of life."
            )
        return text


_UNKNOWN = Holder(
    host="an unknown host",
    boot="",
    namespace="",
    process=0,
    start="",
    since=0.0,
    token="unknown",
)


@dataclass(frozen=True)
class HeldLock:
    """A lock that a process holds, as it tells others that work for it, maybe on other hosts."""

    path: Path
    token: str
    """The holder's."""


class LockWatch:
    """Whether a lock is still held, asked again and again by one that works for its holder."""

    def __init__(self, held: HeldLock) -> None:
        self._held = held
        self._sign: float | None = None
        self._seen = time.monotonic()

    def is_held(self) -> bool:
        """Whether the holder has it, and has given a sign of life; by the clock of this host."""
        with contextlib.suppress(OSError):  # a file system that hosts share may be away for a while
            holder = Holder.read(self._held.path)
            if holder is None or holder.token != self._held.token:
                return False
            sign = self._held.path.stat().st_mtime
            if sign != self._sign:
                self._sign, self._seen = sign, time.monotonic()
        return time.monotonic() - self._seen < SECONDS_UNTIL_STALE

    def expect_held(self) -> None:
        """Refuse to go on where the lock is no longer held.

        Raises
        ------
        LockedError
            It is not: its holder has ended, or has lost it.
        """
        if not self.is_held():
            raise LockedError(
                f"{self._held.path}: the run that this is for has ended, or has lost its lock. "
                "Nothing more is written."
            )


@contextmanager
def lock(path: Path, folder: Path) -> Iterator[HeldLock]:
    """Keep other processes out of `folder` by the lock `path` while the block is executed.

    The lock of a process that is gone is taken over. A block that has lost its lock, as on a host
    that slept, goes on; the log has a warning.

    Raises
    ------
    LockedError
        Another process has the lock; the message says which.
    FileError
        The lock cannot be written.
    """
    holder = Holder.this_process()
    try:
        _acquire(path, folder, holder)
    except OSError as error:
        raise FileError(why_not_written(path, error)) from error
    released = threading.Event()
    signs = threading.Thread(target=_give_signs, args=(path, holder, released), daemon=True)
    signs.start()
    try:
        yield HeldLock(path, holder.token)
    finally:
        released.set()
        signs.join()
        with contextlib.suppress(OSError):
            if Holder.read(path) == holder:
                path.unlink()


def _acquire(path: Path, folder: Path, holder: Holder) -> None:
    """Create the lock, or take it over.

    Only one process can succeed a holder: the one that creates the file named after the holder's
    token. It then renames that file to the lock. If it is killed in between, it can itself be
    succeeded, so the holder is the last in a chain of successors.
    """
    claim = path.with_name(part_of_path(f"{path.name}.{holder.token}.claim", "claim"))
    try:
        claim.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        now = claim.stat().st_mtime
        while not _create(path, claim, holder):
            first = Holder.read(path)
            if first is None:
                continue
            place, last, former = path, first, []
            while (successor := Holder.read(_succession(path, last))) is not None:
                place = _succession(path, last)
                former.append(place)
                last = successor
            silent_for = now - _last_sign(place, now)
            if not last.is_gone(holder, silent_for):
                raise LockedError(f"{folder}: {last.describe(holder)}")
            own = _succession(path, last)
            if not _create(own, claim, holder):
                continue
            if Holder.read(path) != first:  # another has succeeded, and removed its traces
                own.unlink()
                continue
            own.replace(path)
            for trace in former:
                trace.unlink(missing_ok=True)
            logger.info("%s: taken over from process %d on %s", path, last.process, last.host)
            return
    finally:
        claim.unlink(missing_ok=True)


def _succession(path: Path, holder: Holder) -> Path:
    """The file that a successor of a holder creates."""
    return path.with_name(part_of_path(f"{path.name}.{holder.token}", "lock"))


def _create(path: Path, claim: Path, holder: Holder) -> bool:
    """Create a file with the contents of `claim`, at once; False if it exists already."""
    try:
        os.link(claim, path)
    except FileExistsError:
        return Holder.read(path) == holder  # NFS may have done it, and lost its answer
    except OSError:  # a file system without hard links
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(holder)))
        except FileExistsError:
            return False
    return True


def _last_sign(path: Path, now: float) -> float:
    """When a lock was last touched; `now` where it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return now


def _give_signs(path: Path, holder: Holder, released: threading.Event) -> None:
    while not released.wait(SECONDS_BETWEEN_SIGNS):
        try:
            present = Holder.read(path)
            if present != holder:
                name = "nobody" if present is None else f"process {present.process}"
                logger.warning("%s: this process has lost its lock to %s.", path, name)
                return
            os.utime(path)
        except OSError:
            logger.debug("%s: no sign of life could be given", path, exc_info=True)


def _start_of(process: int) -> str | None:
    """When a process was started, in ticks since the boot; None if it has ended, or on no Linux."""
    status = _text_of(f"/proc/{process}/stat")
    fields = status.rpartition(")")[2].split()
    return None if not fields or fields[0] in _GONE else fields[19]


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
