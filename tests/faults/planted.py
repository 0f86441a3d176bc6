"""Readers with faults, to see that the fuzzer notices each."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from resenc_plans.errors import FileError
from tests.faults.kinds import Calls, Kind

FILE = "example.json"
OUTSIDE = "../escaped"


def _accepts(root: Path, path: Path, random: Random) -> Calls:
    yield path.read_bytes


def _refuses(root: Path, path: Path, random: Random) -> Calls:
    raise FileError(f"{path}: no.")
    yield


def _raises(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: os.environ["MISSING"]


def _sleeps(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: time.sleep(1.5)


def _takes_memory(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: len(b"x" * (1 << 28))


def _writes_outside(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: (root / OUTSIDE).write_text("x")


def _leaves_half(root: Path, path: Path, random: Random) -> Calls:
    (root / "half").write_text("x")
    raise FileError(f"{path}: no.")
    yield


def _talks(root: Path, path: Path, random: Random) -> Calls:
    raise FileError("word\n" * 10_000)
    yield


def _imports(root: Path, path: Path, random: Random) -> Calls:
    yield lambda: __import__("tests.faults.canary")


def _crashes(root: Path, path: Path, random: Random) -> Calls:
    if path.read_bytes() != b"{}":  # the valid file is read first
        yield os.abort


def _hangs(root: Path, path: Path, random: Random) -> Calls:
    if path.read_bytes() != b"{}":
        yield lambda: time.sleep(600)


READERS = {
    "accepts": _accepts, "refuses": _refuses, "raises": _raises, "sleeps": _sleeps,
    "takes memory": _takes_memory, "writes outside": _writes_outside, "leaves half": _leaves_half,
    "talks": _talks, "imports": _imports,
}  # fmt: skip


def _damage(random: Random, content: bytes) -> bytes:
    return b"[]"


def _kind(read: Callable[[Path, Path, Random], Calls]) -> Kind:
    return Kind((FILE,), read, _damage)


GROUPS: dict[str, dict[str, Kind]] = {
    "crashes": {"crashes": _kind(_crashes)},
    "hangs": {"hangs": _kind(_hangs)},
    "accepts": {"accepts": _kind(_accepts)},
}
KINDS = {name: _kind(read) for name, read in READERS.items()}
