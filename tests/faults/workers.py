"""Processes that read damaged files, and are replaced when a file ends them or never ends.

Native code may crash on damaged bytes, and then the process is gone with all it knew. So each file
is read by a process that is told its number, and its end is what came of the file.
"""

import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

from tests.faults.kinds import Kind
from tests.faults.watch import CRASH, HANG, Outcome, Watch

SECONDS_UNTIL_HANGING = 30.0

Group = dict[str, Kind]
"""Kinds by name, among which chance chooses."""

OF_THE_FUZZER = "fault of the fuzzer"
ALL_GROUPS = "tests.faults.groups"
"""The module that has the groups, of which a process imports what it reads with."""


class Worker:
    """A process that reads one damaged file after another."""

    def __init__(self, examples: Path, folder: Path, groups: str) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([groups, __name__])
        self._groups = groups
        self._examples = examples
        self._folder = folder
        self.number: int | None = None
        """Of the file that it reads."""
        self._start()

    def _start(self) -> None:
        self._work = Path(tempfile.mkdtemp(dir=self._folder))
        self.connection, other = self._context.Pipe()
        arguments = (other, self._examples, self._work, self._groups)
        self._process = self._context.Process(target=_serve, args=arguments, daemon=False)
        self._process.start()
        other.close()
        self.begun = time.monotonic()

    def give(self, group: str, seed: int, number: int) -> None:
        """Have the file of this number read."""
        self.number = number
        self.begun = time.monotonic()
        self.connection.send((group, seed, number))

    def take(self) -> Outcome:
        """What came of it; a crash if the process has ended."""
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            outcome = Outcome(
                "", CRASH, f"exit code {self._process.exitcode}: {self._last_words()}"
            )
            self.replace()
        self.number = None
        return outcome

    def hangs(self) -> bool:
        """Whether its file has taken longer than any may."""
        return self.number is not None and time.monotonic() - self.begun > SECONDS_UNTIL_HANGING

    def replace(self) -> None:
        """End the process, and start another one."""
        self.end()
        self._start()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._work / "crash").read_text(errors="replace").splitlines()
            ours = [line.strip() for line in lines if "resenc_plans" in line]
            return " ".join([*lines[:1], *ours[:1]])
        return ""


class Workers:
    """Several workers, to which numbers are handed as they become free."""

    def __init__(self, count: int, examples: Path, folder: Path, groups: str = ALL_GROUPS) -> None:
        self._all = [Worker(examples, folder, groups) for _ in range(count)]

    def outcomes(
        self, group: str, seed: int, numbers: Iterator[int], until: Callable[[], bool]
    ) -> Iterator[tuple[int, Outcome]]:
        """What came of each number, until there are no more or it is time to end."""
        for worker in self._all:
            _give_next(worker, group, seed, numbers, until)
        while busy := [worker for worker in self._all if worker.number is not None]:
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in busy:
                number = worker.number
                if worker.connection in ready:
                    outcome = worker.take()
                elif worker.hangs():
                    outcome = Outcome("", HANG, f"over {SECONDS_UNTIL_HANGING:g} s")
                    worker.replace()
                    worker.number = None
                else:
                    continue
                if number is not None:
                    yield number, outcome
                _give_next(worker, group, seed, numbers, until)

    def end(self) -> None:
        """End all processes."""
        for worker in self._all:
            worker.end()


def _give_next(
    worker: Worker, group: str, seed: int, numbers: Iterator[int], until: Callable[[], bool]
) -> None:
    number = None if until() else next(numbers, None)
    if number is not None:
        worker.give(group, seed, number)


def _serve(connection: Connection, examples: Path, work: Path, module: str) -> None:
    """Read files as they are asked for, until there is nobody to ask."""
    groups: dict[str, Group] = importlib.import_module(module).GROUPS
    os.environ.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    with (work / "crash").open("w") as crash, Path(os.devnull).open("r+b") as nothing:
        faulthandler.enable(crash)
        for stream in (0, 1, 2):  # ITK and others print what they think of damaged files
            os.dup2(nothing.fileno(), stream)
        watch = Watch(examples, work / "place")
        watch.warm_up(groups)
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                asked = connection.recv()
                try:
                    connection.send(see(watch, groups, *asked))
                except Exception as error:  # a fault of the fuzzer, which is to be told as well
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    detail = f"{error!r} at {Path(place.filename).name}:{place.lineno}"
                    connection.send(Outcome(asked[0], OF_THE_FUZZER, detail[:500]))


def see(watch: Watch, groups: dict[str, Group], group: str, seed: int, number: int) -> Outcome:
    """Damage and read the file of a number, which is the same for the same seed."""
    name, random = chosen(groups[group], group, seed, number)
    return watch.see(name, groups[group][name], random)


def chosen(kinds: Group, group: str, seed: int, number: int) -> tuple[str, Random]:
    """The kind that a number stands for, and its source of chance."""
    random = Random(f"{group} {seed} {number}")
    names = list(kinds)
    return random.choices(names, [kinds[name].weight for name in names])[0], random
