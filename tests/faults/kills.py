"""Kill commands at moments spread over their whole course, run them again, and compare.

    python -m tests.faults.kills preprocess|train|ranks|predict [--count N] [--seed S]
    python -m tests.faults.kills report

A command runs undisturbed first. Then it is killed by SIGKILL again and again, each time in a new
folder, and run a second time. What it leaves has to be equal to the undisturbed run's, file by
file, with nothing more and no process left over. Each kill appends a line to `--totals`, so that
runs add up; `report` prints the sums. A run that was interrupted goes on where it was. Another seed
gives other moments. Linux only.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from tests.faults import marked_processes
from tests.faults.results import differences, folders_of, results_of
from tests.faults.totals import ROOT, append_line, commit, markdown, read_lines
from tests.faults.victims import (
    FREQUENT,
    RARE,
    Job,
    Prediction,
    Preprocessing,
    Toys,
    Training,
    Victim,
    ranks,
    two_ranks,
)

TOTALS = ROOT / "build" / "kills.jsonl"

VICTIMS: dict[str, tuple[int, Callable[[Toys], list[Victim]]]] = {
    "preprocess": (100, lambda toys: [Preprocessing(toys)]),
    "train": (50, lambda toys: [Training(toys, FREQUENT), Training(toys, RARE)]),
    "ranks": (20, lambda toys: [two_ranks(toys)]),
    "predict": (20, lambda toys: [Prediction(toys)]),
}
"""By name: how many kills, and the variants among which they alternate."""
CASES = 40

SECONDS_TO_END = 10.0
"""Within which everything has to end after a kill."""
SECONDS_OF_ONE_RUN = 1800.0
"""After which a command is taken to hang; it takes seconds, but the machine may be busy."""
HANGS = "the rerun hangs"
SECONDS_BETWEEN_LOOKS = 0.002
MAX_TRIES = 4
"""How often a moment is tried again, a little earlier, when the command has ended before it."""


@dataclass(frozen=True)
class Kill:
    """One line of the totals."""

    kind: str
    commit: str
    seed: int
    number: int
    """Of the part of the course in which the moment is, from 0."""
    parts: int
    """Into how many the course is divided."""
    moment: float
    """Share of the course at which it was planned."""
    target: str
    """Who was killed."""
    phase: str
    partial: bool
    """Whether some of the results were there, but not all."""
    seconds_to_end: float
    left_over: int
    """Processes that still ran after `SECONDS_TO_END`."""
    differences: list[str]
    """How the rerun's results differ from the undisturbed run's."""
    failure: str | None
    """Why there is no rerun to compare."""

    @property
    def is_well(self) -> bool:
        """Whether everything that is promised was so."""
        return not (self.left_over or self.differences or self.failure)


@dataclass(frozen=True)
class Course:
    """How a command goes on: the seconds and weights from each milestone to the next.

    A run's place in it follows from its milestones, and between them from the clock, so that it
    does not matter how busy the machine is.
    """

    seconds: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, victim: Victim, samples: Sequence[tuple[float, int]], end: float) -> "Course":
        """That of a run which was seen at these times to have come to these milestones."""
        reached = [
            next(at for at, milestone in samples if milestone >= number)
            for number in range(max(milestone for _, milestone in samples) + 1)
        ]
        pairs = pairwise([*reached, max(end, reached[-1])])
        seconds = tuple(later - earlier for earlier, later in pairs)
        weights = tuple(victim.weight(number, spent) for number, spent in enumerate(seconds))
        return cls(seconds, weights)

    def share(self, milestone: int, since: float) -> float:
        """How much is done, so many seconds after a milestone."""
        number = min(milestone, len(self.weights) - 1)
        part = min(1.0, since / self.seconds[number]) if self.seconds[number] > 0 else 1.0
        return (sum(self.weights[:number]) + part * self.weights[number]) / sum(self.weights)


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nobody kills, and its course until its last write."""

    files: dict[str, str]
    folders: set[str]
    course: Course


class Campaign:
    """Kills of one kind of command, in a folder for their data."""

    def __init__(self, kind: str, toys: Toys, folder: Path) -> None:
        self.toys, self.folder = toys, folder
        self.victims = VICTIMS[kind][1](toys)
        self._references: dict[int, Undisturbed] = {}

    def run(self, count: int, seed: int, done: Collection[int] = ()) -> Iterator[Kill]:
        """Kill so many times, at one moment in each of `count` equal parts of the course.

        Parts that an earlier run has `done` are left out.
        """
        moments = random.Random(seed)
        numbers = list(range(count))
        moments.shuffle(numbers)
        for turn, number in enumerate(numbers):
            share = (number + moments.random()) / count
            if number in done:
                continue
            which = turn // 2 % len(self.victims)
            victim = self.victims[which]
            if which not in self._references:
                self._references[which] = self._undisturbed(victim)
            reference = self._references[which]
            target = victim.targets[turn % len(victim.targets)]
            for _ in range(MAX_TRIES):
                kill = self._kill(
                    victim, reference, share, target, seed=seed, number=number, parts=count
                )
                if kill is not None:
                    yield kill
                    break
                share *= 0.97
            else:
                print(f"{victim.kind} {number}: ended before {share:.0%} of its course", flush=True)

    def _undisturbed(self, victim: Victim) -> Undisturbed:
        place = self._new_place(victim)
        with started(victim, place, self.toys.raw, again=False) as job:
            samples = list(milestones_of(victim, job))
        if job.process.returncode != 0:
            raise RuntimeError(f"{victim.kind}, undisturbed: {job.output.read_text()}")
        last = max(path.stat().st_mtime for path in (place, *place.rglob("*")))
        course = Course.of(victim, samples, last)
        result = Undisturbed(results_of(place), folders_of(place), course)
        shutil.rmtree(place)
        return result

    def _kill(
        self,
        victim: Victim,
        reference: Undisturbed,
        share: float,
        target: str,
        *,
        seed: int,
        number: int,
        parts: int,
    ) -> Kill | None:
        """One kill, and the rerun; None if the command had ended before."""
        place = self._new_place(victim)
        with started(victim, place, self.toys.raw, again=False) as job:
            if not comes_to(share, reference.course, milestones_of(victim, job)):
                return None
            target = hit(job, target)
            begun = time.monotonic()
            left = marked_processes.wait_until_gone(job.token, SECONDS_TO_END)
            seconds = time.monotonic() - begun
        phase, partial = victim.phase(place)
        failure, found = None, []
        with started(victim, place, self.toys.raw, again=True) as job:
            try:
                code = job.process.wait(SECONDS_OF_ONE_RUN)
            except subprocess.TimeoutExpired:
                failure = HANGS
            else:
                if code != 0:
                    last_line = job.output.read_text().strip().splitlines()[-3:]
                    failure = f"the rerun ends with {code}: {' '.join(last_line)}"
            if failure != HANGS:
                left += marked_processes.wait_until_gone(job.token, SECONDS_TO_END)
        if failure is None:
            found = differences(reference.files, results_of(place))
            found += [f"{name} is left over" for name in folders_of(place) - reference.folders]
        kill = Kill(
            kind=victim.kind,
            commit=commit(),
            seed=seed,
            number=number,
            parts=parts,
            moment=round(share, 4),
            target=target,
            phase=phase,
            partial=partial,
            seconds_to_end=round(seconds, 2),
            left_over=len(left),
            differences=found,
            failure=failure,
        )
        if kill.is_well:
            shutil.rmtree(place)
        return kill

    def _new_place(self, victim: Victim) -> Path:
        place = self.folder / f"{victim.kind}-{secrets.token_hex(4)}"
        victim.prepare(place)
        return place


@contextlib.contextmanager
def started(victim: Victim, place: Path, raw: Path, *, again: bool) -> Iterator[Job]:
    """A command that has been started, and of which nothing is left after the block."""
    job = Job(victim.command(place, again=again), place, raw, secrets.token_hex(8))
    try:
        yield job
    finally:
        marked_processes.kill(job.token)
        job.process.wait()


def milestones_of(victim: Victim, job: Job) -> Iterator[tuple[float, int]]:
    """Time and milestone, from the first write until the command ends."""
    while job.process.poll() is None:
        milestone = victim.milestone(job.place)
        if milestone is not None:
            yield time.time(), milestone
        time.sleep(SECONDS_BETWEEN_LOOKS)


def comes_to(share: float, course: Course, milestones: Iterator[tuple[float, int]]) -> bool:
    """Wait until a command has come to a part of its course; False if it ends before."""
    last, since = -1, 0.0
    for at, milestone in milestones:
        if milestone > last:
            last, since = milestone, at
        if course.share(last, at - since) >= share:
            return True
    return False


def hit(job: Job, target: str) -> str:
    """Kill by SIGKILL; who was hit: the parent where there is no such rank any more."""
    if target == "group":
        os.killpg(job.process.pid, signal.SIGKILL)
        return target
    if target.startswith("rank "):
        pid = ranks(job).get(target.removeprefix("rank "))
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            job.process.wait(SECONDS_OF_ONE_RUN)
            return target
        target = "parent"
    job.process.kill()
    job.process.wait()
    return target


def read(totals: Path) -> list[Kill]:
    """All kills of a file of totals, which need not exist."""
    return [Kill(**line) for line in read_lines(totals)]


def table(kills: Sequence[Kill]) -> Iterator[str]:
    """The sums, as lines of Markdown, and what was not as promised."""
    heads = (
        "command",
        "killed",
        "kills",
        "some results",
        "rerun equal",
        "left over",
        "longest end",
    )
    by_kind = {kind: [kill for kill in kills if kill.kind == kind] for kind in VICTIMS}
    yield from markdown(heads, (_row(kind, ours) for kind, ours in by_kind.items() if ours))
    for kind in VICTIMS:
        phases = Counter(kill.phase for kill in kills if kill.kind == kind)
        if phases:
            yield f"{kind}: {', '.join(f'{name} {count}' for name, count in phases.most_common())}"
    for kill in kills:
        if not kill.is_well:
            yield f"NOT WELL: {json.dumps(asdict(kill))}"


def _row(kind: str, kills: Sequence[Kill]) -> Sequence[object]:
    targets = Counter(kill.target for kill in kills)
    return (
        kind,
        ", ".join(f"{name} {count}" for name, count in sorted(targets.items())),
        len(kills),
        sum(kill.partial for kill in kills),
        sum(kill.failure is None and not kill.differences for kill in kills),
        sum(kill.left_over for kill in kills),
        f"{max(kill.seconds_to_end for kill in kills):.1f} s",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the number of kills after which something was wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends as well
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=(*VICTIMS, "report"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--totals", type=Path, default=TOTALS)
    chosen = parser.parse_args(arguments)
    totals: Path = chosen.totals
    kills = read(totals)
    if chosen.kind == "report":
        print("\n".join(table(kills)))
        return 0
    count = chosen.count or VICTIMS[chosen.kind][0]
    same = (chosen.kind, chosen.seed, count)
    done = {kill.number for kill in kills if (kill.kind, kill.seed, kill.parts) == same}
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    wrong = 0
    toys = Toys(folder / "toys", chosen.cases)
    toys.make()
    for kill in Campaign(chosen.kind, toys, folder).run(count, chosen.seed, done):
        append_line(totals, asdict(kill))
        wrong += not kill.is_well
        print(json.dumps(asdict(kill)), flush=True)
    if wrong:
        print(f"{wrong} kills went wrong; their folders are in {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(), 1))
