"""Damage valid files of every kind that is read, read them, and count what comes of it.

    python -m tests.faults.fuzz GROUP|all [--seconds N] [--count N] [--seed S] [--only NUMBER]
    python -m tests.faults.fuzz report

Every file has a number; seed and number decide what is damaged and how. A file is accepted, refused
by an error of ours, or a fault: another exception, over 5 s, over 1 GB, something written outside
of the folder, something half-written, something called that the file names, a crash. A fault is
printed with its number, by which `--only` repeats it, and its file is kept in `build/fuzz`. Counts
add up in `--totals`; a later run goes on with later numbers. Linux only.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from tests.faults.examples import write_examples
from tests.faults.groups import GROUPS, SHARES
from tests.faults.totals import ROOT, append_line, commit, markdown, read_lines
from tests.faults.watch import ACCEPTED, HANG, MEMORY, REFUSED, SLOW, Outcome, damaged
from tests.faults.workers import Workers, chosen

TOTALS = ROOT / "build" / "fuzz.jsonl"
KEPT = ROOT / "build" / "fuzz"
WORKERS = 2
HEADS = ("kind", "files", "accepted", "refused", "faults")
SECONDS = 1800.0
"""Of a campaign of all groups."""


@dataclass
class Run:
    """One line of the totals: the files of a group that one run has read."""

    group: str
    commit: str
    seed: int
    first: int
    """Number of the first file."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Files by kind and result."""
    seconds: float = 0.0
    longest: float = 0.0
    """Seconds that one file took at most."""
    faults: list[list[Any]] = field(default_factory=list)
    """Number, kind, result and detail of each."""

    @property
    def count(self) -> int:
        """Of all files."""
        return sum(sum(results.values()) for results in self.counts.values())

    def add(self, number: int, outcome: Outcome) -> None:
        """Count a file."""
        results = self.counts.setdefault(outcome.kind, {})
        results[outcome.result] = results.get(outcome.result, 0) + 1
        self.longest = max(self.longest, outcome.seconds)
        if not outcome.is_well:
            self.faults.append([number, outcome.kind, outcome.result, outcome.detail])


class Campaign:
    """Workers with their examples in a folder."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._examples = folder / "examples"
        write_examples(self._examples)
        self._workers = Workers(workers, self._examples, folder)

    def run(
        self, group: str, seed: int, numbers: Iterator[int], until: Callable[[], bool]
    ) -> Iterator[tuple[int, Outcome]]:
        """Read files; what took too long is read again, since the machine may have been busy."""
        again = []
        for number, outcome in self._workers.outcomes(group, seed, numbers, until):
            if outcome.result in (SLOW, HANG, MEMORY):
                again.append(number)
            else:
                yield number, self._complete(group, seed, number, outcome)
        for number, outcome in self._workers.outcomes(group, seed, iter(again), lambda: False):
            yield number, self._complete(group, seed, number, outcome)

    def _complete(self, group: str, seed: int, number: int, outcome: Outcome) -> Outcome:
        """The outcome with the kind and the file, which a process that is gone has not told."""
        if outcome.kind:
            return outcome
        kind, random = chosen(GROUPS[group], group, seed, number)
        file, content = damaged(self._examples, GROUPS[group][kind], random)
        return replace(outcome, kind=kind, file=content, name=file.name)

    def end(self) -> None:
        """End the workers."""
        self._workers.end()


def table(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The sums, as lines of Markdown, and the faults, each place once."""
    sums: dict[str, Counter[str]] = {}
    for line in lines:
        for kind, results in line["counts"].items():
            sums.setdefault(kind, Counter()).update(results)
    rows = [_row(kind, results) for kind, results in sums.items()]
    yield from markdown(HEADS, [*rows, _row("all", sum(sums.values(), Counter()))])
    faults = [(line, fault) for line in lines for fault in line["faults"]]
    places = Counter(_place(fault) for _, fault in faults)
    for line, fault in faults:
        if places[_place(fault)]:
            number, kind, result, detail = fault
            yield (
                f"FAULT, {places.pop(_place(fault))} times: {kind}: {result}: {detail} "
                f"(commit {line['commit']}; again: {line['group']} --seed {line['seed']} "
                f"--only {number})"
            )


def _row(kind: str, results: Counter[str]) -> Sequence[object]:
    accepted, refused = results[ACCEPTED], results[REFUSED]
    return kind, results.total(), accepted, refused, results.total() - accepted - refused


def _place(fault: Sequence[Any]) -> tuple[str, str, str]:
    """Kind, result, and of a detail what comes before the message."""
    _, kind, result, detail = fault
    return kind, result, str(detail).partition(":")[0]


def _keep(group: str, seed: int, number: int, outcome: Outcome) -> None:
    if outcome.file:
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{group}-{seed}-{number}-{outcome.name}").write_bytes(outcome.file)


def _next_number(lines: Sequence[Mapping[str, Any]], group: str, seed: int) -> int:
    """The number after those that earlier runs have read."""
    same = [line for line in lines if (line["group"], line["seed"]) == (group, seed)]
    return max((line["first"] + line["read"] for line in same), default=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("group", choices=(*GROUPS, "all", "report"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--totals", type=Path, default=TOTALS)
    chosen = parser.parse_args(arguments)
    lines = read_lines(chosen.totals)
    if chosen.group == "report":
        print("\n".join(table(lines)))
        return 0
    groups = list(GROUPS) if chosen.group == "all" else [chosen.group]
    seconds = chosen.seconds or SECONDS
    faults = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the workers end as well
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    campaign = Campaign(folder, 1 if chosen.only is not None else chosen.workers)
    try:
        for group in groups:
            share = seconds * (SHARES[group] if len(groups) > 1 else 1.0)
            run = _run(campaign, group, chosen, share, _next_number(lines, group, chosen.seed))
            faults += len(run.faults)
            if chosen.only is None:
                append_line(chosen.totals, {**vars(run), "read": run.count})
    finally:
        campaign.end()
        shutil.rmtree(folder, ignore_errors=True)
    return faults


def _run(
    campaign: Campaign, group: str, chosen: argparse.Namespace, seconds: float, first: int
) -> Run:
    """Read the files of a group, and print its faults."""
    begun = time.monotonic()
    run = Run(group, commit(), chosen.seed, first)
    numbers: Iterator[int] = count(first)
    if chosen.only is not None:
        numbers = iter([chosen.only])
    elif chosen.count is not None:
        numbers = iter(range(first, first + chosen.count))
        seconds = float("inf")
    outcomes = campaign.run(group, chosen.seed, numbers, lambda: time.monotonic() - begun > seconds)
    for number, outcome in outcomes:
        run.add(number, outcome)
        if not outcome.is_well:
            _keep(group, chosen.seed, number, outcome)
            print(
                f"{group} --seed {chosen.seed} --only {number}: {outcome.kind}: "
                f"{outcome.result}: {outcome.detail}",
                flush=True,
            )
        elif chosen.only is not None:
            print(f"{outcome.kind}: {outcome.result}", flush=True)
    run.seconds = round(time.monotonic() - begun, 1)
    speed = run.count / run.seconds if run.seconds else 0.0
    print(
        f"{group}: {run.count} files in {run.seconds} s ({speed:.0f} per second), "
        f"{len(run.faults)} faults; the longest took {run.longest:.1f} s",
        flush=True,
    )
    return run


if __name__ == "__main__":
    sys.exit(min(main(), 1))
