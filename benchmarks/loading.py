"""Training batches per second from the store, one process, against nnU-Net's loader.

    python benchmarks/loading.py [--batches 100] [--repeats 3]

Sampling, reading and augmentation on Dataset004_Hippocampus (patch 40x56x40, batch 4), from cases
that we stored; the process that takes the batches does nothing else. Runs alternate; the medians
count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from convergence import CONFIGURATION, DATASET, PLANS, prepare
from side_by_side import PEER_PYTHON, SHARED

OURS = """
import sys, time
from resenc_plans import Dataset, Plans
from resenc_plans.training.ranks import ALONE
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.defaults import default_batches
folder, plans, configuration, count = sys.argv[1:]
config = Plans.load(f"{folder}/{plans}.json").resolve(configuration)
training, _ = default_batches(config, Dataset.load(folder), 0, TrainingSettings(workers=1), ALONE)
stream = training.stream(0)
for _ in range(10):
    next(stream)
begun = time.perf_counter()
for _ in range(int(count)):
    next(stream)
print(int(count) / (time.perf_counter() - begun))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        stored = str(folder / "preprocessed" / DATASET)
        what = [PLANS, CONFIGURATION, str(options.batches)]
        script = str(Path(__file__).parent / "loading_with_nnunet.py")
        ours, theirs = [], []
        for _ in range(options.repeats):
            ours.append(rate([sys.executable, "-c", OURS, stored, *what], folder))
            theirs.append(rate([str(PEER_PYTHON), script, DATASET, *what], folder))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"ours {mine:.1f}, nnU-Net {other:.1f} batches per second: {mine / other:.2f} times")


def rate(command: list[str], folder: Path) -> float:
    """What a program prints last."""
    environment = os.environ | {
        "nnUNet_raw": str(SHARED / "data"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
