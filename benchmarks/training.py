"""Training on the CPU: start-up, seconds per iteration and memory, against nnU-Net's trainer.

    python benchmarks/training.py [--iterations 24] [--repeats 3]

The small network of the shared model on Dataset004_Hippocampus (patch 40x56x40, batch 4), data
loading included, by one process on both sides. Runs alternate; the medians count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convergence import CONFIGURATION, DATASET, PLANS, prepare
from side_by_side import PEER_PYTHON, SHARED

OURS = """
import json, sys, time
from pathlib import Path
from resenc_plans import Dataset, Plans
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.trainer import Trainer
folder, plans, configuration, precision, iterations, results, started = sys.argv[1:]
plan = Plans.load(f"{folder}/{plans}.json")
settings = TrainingSettings(
    epochs=1, iterations=int(iterations), validation_iterations=1, precision=precision, workers=1
)
ends = []
Trainer(
    plan.resolve(configuration), Dataset.load(folder), 0, settings,
    run_folder=RunFolder(Path(results), 0), on_progress=lambda event: ends.append(time.time()),
).fit()
ends = ends[:int(iterations)]
print(json.dumps({
    "first": ends[0] - float(started), "iteration": (ends[-1] - ends[3]) / (len(ends) - 4),
}))
"""


@dataclass(frozen=True)
class Timing:
    """Of one run: seconds to the end of the first iteration, per later one, peak memory."""

    first: float
    iteration: float
    mebibytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        programs: dict[str, Callable[[], Timing]] = {
            "ours, fp32": lambda: ours(folder, "fp32", options.iterations),
            "ours, bf16 (default)": lambda: ours(folder, "bf16", options.iterations),
            "nnU-Net": lambda: theirs(folder, options.iterations),
        }
        runs: dict[str, list[Timing]] = {program: [] for program in programs}
        for _ in range(options.repeats):
            for program, run in programs.items():
                runs[program].append(run())
    print(f"{'':<22}{'first iteration':>17}{'per iteration':>16}{'memory':>12}")
    medians = {
        program: [statistics.median(values) for values in zip(*map(_values, timings), strict=True)]
        for program, timings in runs.items()
    }
    for program, (first, iteration, memory) in medians.items():
        print(f"{program:<22}{first:>15.2f} s{iteration:>14.3f} s{memory:>8.0f} MiB")
    for program in list(programs)[:2]:
        pairs = zip(medians["nnU-Net"], medians[program], strict=True)
        first, iteration, memory = (theirs / mine for theirs, mine in pairs)
        print(
            f"{program}: first iteration {first:.1f} times as early, {iteration:.2f} times as "
            f"fast, {memory:.2f} times less memory"
        )


def ours(folder: Path, precision: str, iterations: int) -> Timing:
    """Our trainer in a process of its own."""
    arguments = [str(folder / "preprocessed" / DATASET), PLANS, CONFIGURATION, precision]
    results = tempfile.mkdtemp(dir=folder, prefix="results_")
    return _timed([sys.executable, "-c", OURS, *arguments, str(iterations), results], folder)


def theirs(folder: Path, iterations: int) -> Timing:
    """nnU-Net's trainer in a process of its own."""
    script = Path(__file__).parent / "training_with_nnunet.py"
    arguments = [DATASET, PLANS, CONFIGURATION, str(iterations), "1"]
    return _timed([str(PEER_PYTHON), str(script), *arguments], folder)


def _timed(command: list[str], folder: Path) -> Timing:
    environment = os.environ | {
        "nnUNet_raw": str(SHARED / "data"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder),
    }
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, str(time.time())], env=environment, stdout=output, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[0]} ended with {process.returncode}")
        output.seek(0)
        timing = json.loads(output.read().splitlines()[-1])
    return Timing(timing["first"], timing["iteration"], usage.ru_maxrss / 1024)


def _values(timing: Timing) -> tuple[float, float, float]:
    return timing.first, timing.iteration, timing.mebibytes


if __name__ == "__main__":
    main()
