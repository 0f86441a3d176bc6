"""Call what reads a damaged file, and tell what came of it: refused in our words, or a fault."""

import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from resenc_plans.datasets.finding import Finding
from resenc_plans.errors import ResencPlansError
from tests.faults.kinds import FailedError, Kind, RefusedError

ACCEPTED, REFUSED = "accepted", "refused"
TRACEBACK, SLOW, MEMORY, LONG = "traceback", "over 5 s", "over 1 GB", "long message"
OUTSIDE, CHANGED, EXECUTED = "outside", "half a file", "executed"
CRASH, HANG = "crash", "hangs"

MAX_SECONDS = 5.0
MAX_BYTES = 2**30
MAX_CHARACTERS = 10_000
"""Of a message."""
MAX_HEAP = 4 * 2**30
"""Bytes beyond those of an idle worker at which the system refuses memory."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}
_CHANGES |= {"os.truncate", "os.chmod", "os.chown", "os.utime"}
_STARTS = {"os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.startfile", "pty.spawn"}
_STARTS |= {"subprocess.Popen", "socket.connect", "socket.bind", "socket.sendto"}
_CANARY = "tests.faults.canary"
_IMPORTED = f"import {_CANARY}"


@dataclass(frozen=True)
class Outcome:
    """What came of one damaged file."""

    kind: str
    result: str
    detail: str = ""
    """What a fault was, and where."""
    seconds: float = 0.0
    file: bytes = b""
    """The damaged file, of a fault."""
    name: str = ""
    """Its name."""

    @property
    def is_well(self) -> bool:
        """Whether the file was accepted, or refused in our words."""
        return self.result in (ACCEPTED, REFUSED)


class Events:
    """What Python reports while it is watched: paths that are written, and what is started."""

    def __init__(self) -> None:
        self.is_on = False
        self.written: list[Path] = []
        self.started: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set("wax+") & set(mode)) or flags & _WRITES:
                self._write(path)
        elif event in _CHANGES:
            for path in arguments[:2]:
                self._write(path)
        elif event in _STARTS:
            self.started.append(f"{event} {arguments[:2]}"[:300])
        elif event == "import" and arguments[0] == _CANARY:
            self.started.append(_IMPORTED)

    def _write(self, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            self.written.append(Path(os.path.abspath(os.fsdecode(path))))  # noqa: PTH100

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note what happens in the block."""
        sys.modules.pop(_CANARY, None)
        self.written, self.started, self.is_on = [], [], True
        try:
            yield
        finally:
            self.is_on = False


class Watch:
    """A folder with valid examples, in which one file at a time is damaged and read."""

    def __init__(self, examples: Path, work: Path) -> None:
        self.examples = examples
        self.work = work
        self.root = work / "files"
        self._contents = {
            path.relative_to(examples): path.read_bytes()
            for path in examples.rglob("*")
            if path.is_file()
        }
        self._folders = [
            path.relative_to(examples)
            for path in (examples, *sorted(examples.rglob("*")))
            if path.is_dir()
        ]
        self._events = Events()
        sys.dont_write_bytecode = True
        work.mkdir(parents=True, exist_ok=True)
        for name, variable in (
            ("home", "HOME"),
            ("temporary", "TMPDIR"),
            ("home", "XDG_CONFIG_HOME"),
            ("home", "TORCHINDUCTOR_CACHE_DIR"),
        ):
            (work / name).mkdir(exist_ok=True)
            os.environ[variable] = str(work / name)
        self._restore()

    def warm_up(self, groups: Mapping[str, Mapping[str, Kind]]) -> None:
        """Read a valid file of each kind, then have the system refuse memory far beyond 1 GB."""
        for kind in (kind for kinds in groups.values() for kind in kinds.values()):
            if not kind.starts:
                _read(kind, self.root, self.root / kind.files[0], Random(0), [])
        self._restore()
        limit = _status("VmData") + MAX_HEAP
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def see(self, name: str, kind: Kind, random: Random) -> Outcome:
        """Damage a file of this kind and read it."""
        file, content = damaged(self.examples, kind, random)
        path = self.root / file
        path.write_bytes(content)
        before = _reset_peak()
        error: BaseException | None = None
        told: list[str] = []
        clock = _processor_seconds if kind.starts else _own_seconds
        begun = clock()
        with self._events.heard():
            error = _read(kind, self.root, path, random, told)
        seconds = clock() - begun
        peak = _status("VmHWM") - before
        result, detail = self._judge(kind, file, error, told)
        if result in (ACCEPTED, REFUSED):
            if seconds > MAX_SECONDS:
                result, detail = SLOW, f"{seconds:.1f} s; {_first(detail)}"
            elif peak > MAX_BYTES:
                result, detail = MEMORY, f"{peak / 2**30:.1f} GiB; {_first(detail)}"
        if self._events.written or kind.starts:
            self._restore()
        else:
            path.write_bytes(self._contents[file])
        is_well = result in (ACCEPTED, REFUSED)
        return Outcome(
            name, result, "" if is_well else detail, seconds, b"" if is_well else content, file.name
        )

    def _judge(
        self, kind: Kind, file: Path, error: BaseException | None, told: list[str]
    ) -> tuple[str, str]:
        outside = [path for path in self._events.written if not self._is_inside(path)]
        if self._events.started and not kind.starts:
            return EXECUTED, self._events.started[0]
        if _IMPORTED in self._events.started:
            return EXECUTED, _IMPORTED
        if outside or {path.name for path in self.work.iterdir()} - {"files", "home", "temporary"}:
            return OUTSIDE, str(outside[:1] or [*self.work.iterdir()])
        if error is not None and not _is_refusal(error):
            return TRACEBACK, _place(error)
        if self._events.written or kind.starts:
            allowed = error is None or isinstance(error, FailedError)
            fault = self._changes(file, is_allowed=kind.writes and allowed)
            if fault:
                return CHANGED, fault
        longest = max(told, key=len, default="")
        if len(longest) > MAX_CHARACTERS:
            return LONG, f"{len(longest)} characters: {longest[:200]}"
        is_refused = error is not None or any(told)
        return (REFUSED if is_refused else ACCEPTED), "; ".join(told)[:300]

    def _is_inside(self, path: Path) -> bool:
        """Whether a path may be written to; libraries keep what they compile, and settings."""
        is_allowed = path == Path(os.devnull) or "__pycache__" in path.parts
        folders = (self.root, self.work / "temporary", self.work / "home")
        return is_allowed or any(map(path.is_relative_to, folders))

    def _changes(self, damaged: Path, *, is_allowed: bool) -> str | None:
        """What is left half-written, or was changed by what refused a file."""
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root)
            if path.name.endswith(".tmp") or path.name.startswith(".import-"):
                return f"{name} is left"
            if is_allowed or name == damaged:
                continue
            if not (self.examples / name).exists():
                return f"{name} is new"
            if path.is_file() and path.read_bytes() != self._contents.get(name):
                return f"{name} has changed"
        gone = [name for name in self._contents if not (self.root / name).exists()]
        return f"{gone[0]} is gone" if gone and not is_allowed else None

    def _restore(self) -> None:
        """Make the folder as it was."""
        os.chdir(self.work)
        for path in self.work.iterdir():
            if path.name not in ("files", "home", "temporary"):
                _remove(path)
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_symlink() or not (self.examples / path.relative_to(self.root)).exists():
                _remove(path)
        for name in self._folders:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name, content in self._contents.items():
            path = self.root / name
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        os.chdir(self.root)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damaged(examples: Path, kind: Kind, random: Random) -> tuple[Path, bytes]:
    """A file of this kind, relative to the examples, and its content with damage."""
    file = Path(random.choice(kind.files))
    return file, kind.damage(random, (examples / file).read_bytes())


def _read(
    kind: Kind, root: Path, path: Path, random: Random, told: list[str]
) -> BaseException | None:
    """What the worst of the calls raises; the messages of all refusals are added to `told`."""
    refusal: BaseException | None = None
    calls = kind.read(root, path, random)
    while True:
        try:
            call = next(calls, None)
            if call is None:
                return refusal
            result = call()
        except (Exception, SystemExit) as error:
            if not _is_refusal(error):
                return error
            refusal = refusal or error
            told.append(str(error))
        else:
            if isinstance(result, tuple):
                told.extend(part.message for part in result if isinstance(part, Finding))


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, ResencPlansError | RefusedError | FailedError)


def _place(error: BaseException) -> str:
    """The exception and the last line of the package that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "resenc_plans" in frame.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:300]}"


def _first(text: str) -> str:
    return text[:200]


def _reset_peak() -> int:
    """The memory in use now, from which `VmHWM` counts anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _own_seconds() -> float:
    """A clock that stands still while this thread waits for a processor, which others have."""
    waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return time.perf_counter() - waited


def _processor_seconds() -> float:
    """A clock of what this process and those that it has started compute."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _status(key: str) -> int:
    """Bytes, of a line of this process's status."""
    with Path("/proc/self/status").open() as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith(f"{key}:"))
