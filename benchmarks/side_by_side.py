"""Time and memory of two programs on the same job, run in turns: A B A B.

Standard library only: the peak memory that Linux reports of a program is at least that of the
process which started it, so this one has to stay small.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("RESENC_PLANS_SHARED", ROOT.parent / "shared"))
PEER_PYTHON = Path(os.environ.get("RESENC_PLANS_PEER", ROOT / ".venv-peer" / "bin" / "python"))


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and what it needs in its environment beside ours."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Measurement:
    """Wall-clock seconds (median) and peak memory (median) of several runs of a program."""

    seconds: float
    peak_mib: float
    """Of the largest process that the program consisted of, not of all together."""


@dataclass(frozen=True)
class Comparison:
    """The same job, done by us and by nnU-Net."""

    job: str
    ours: Measurement
    theirs: Measurement


def peer_command(program: str, *arguments: str, **environment: str) -> Command:
    """A program of the environment that has the real nnU-Net."""
    return Command((str(PEER_PYTHON.parent / program), *arguments), tuple(environment.items()))


def measure(
    command: Sequence[str], env: Mapping[str, str] | None = None, repeats: int = 5
) -> Measurement:
    """Run a program several times; `env` is added to this process's environment."""
    command_ = Command(tuple(command), tuple((env or {}).items()))
    return _median([_run(command_) for _ in range(repeats)])


def compare(job: str, ours: Command, theirs: Command, repeats: int = 5) -> Comparison:
    """Run both programs in turns, so that a busy minute hits both."""
    runs: tuple[list[Measurement], list[Measurement]] = ([], [])
    for _ in range(repeats):
        runs[0].append(_run(ours))
        runs[1].append(_run(theirs))
    return Comparison(job, _median(runs[0]), _median(runs[1]))


def print_table(comparisons: Sequence[Comparison]) -> None:
    """One line per job: seconds, peak MiB and ratios, nnU-Net's over ours."""
    width = max(len("job"), *(len(comparison.job) for comparison in comparisons))
    head = f"{'job':{width}}  {'ours':>9}  {'nnU-Net':>9}  {'faster':>7}  "
    print(head + f"{'ours':>9}  {'nnU-Net':>9}  {'smaller':>7}")
    for comparison in comparisons:
        ours, theirs = comparison.ours, comparison.theirs
        print(
            f"{comparison.job:{width}}  {ours.seconds:7.2f} s  {theirs.seconds:7.2f} s  "
            f"{theirs.seconds / ours.seconds:6.1f}x  "
            f"{ours.peak_mib:5.0f} MiB  {theirs.peak_mib:5.0f} MiB  "
            f"{theirs.peak_mib / ours.peak_mib:6.1f}x"
        )


def _run(command: Command) -> Measurement:
    start = time.perf_counter()
    with subprocess.Popen(
        command.arguments,
        env={**os.environ, **dict(command.environment)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        complaints = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command.arguments)}\n{complaints.decode()[-2000:]}")
    per_mib = 1024**2 if sys.platform == "darwin" else 1024
    return Measurement(seconds, usage.ru_maxrss / per_mib)


def _median(runs: Sequence[Measurement]) -> Measurement:
    return Measurement(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.peak_mib for run in runs),
    )
