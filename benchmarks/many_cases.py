"""The peak memory of each job over all cases of a dataset, by the number of its cases.

Cases are tiny (128 foreground voxels), so that what grows with their number is seen. Given are the
peaks (VmHWM) of the command and of the largest process that it starts.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

SHAPE = (8, 10, 9)
SPACING = (0.9, 0.8, 1.2)
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Peak:
    """A command's seconds, and the peak memory in MiB of itself and of its largest child."""

    seconds: float
    main: float
    child: float | None


def write_dataset(folder: Path, cases: int, dtype: str) -> None:
    """Noise with 128 foreground voxels in each case, one channel."""
    random = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    label = np.zeros(SHAPE, np.uint8)
    label[2:6, 1:9, 2:6] = 1
    for case in range(cases):
        image = random.integers(1, 1000, SHAPE).astype(dtype)
        for path, array in (
            (folder / "imagesTr" / f"case_{case:05}_0000.nii.gz", image),
            (folder / "labelsTr" / f"case_{case:05}.nii.gz", label),
        ):
            written = SimpleITK.GetImageFromArray(array)
            written.SetSpacing(SPACING)  # type: ignore[no-untyped-call]
            SimpleITK.WriteImage(written, str(path))
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(document))


def peak_of(arguments: Sequence[str | Path], folder: Path) -> Peak:
    """Run a command in a folder, looking at its processes as it runs."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "resenc_plans", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    peaks: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            for pid in (process.pid, *_children(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0), _high_water_mark(pid))

    looking = threading.Thread(target=look)
    looking.start()
    _, complaints = process.communicate()
    over.set()
    looking.join()
    if process.returncode:
        sys.exit(f"{arguments}\n{complaints.decode()[-2000:]}")
    main = peaks.pop(process.pid)
    return Peak(time.perf_counter() - begun, main, max(peaks.values(), default=None))


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _high_water_mark(pid: int) -> float:
    """Peak memory of a process in MiB; 0 once it has ended."""
    try:
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) / 1024 if match else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--type", default="int16", help="Type of the voxels, int16 or float32.")
    options = parser.parse_args()
    print(f"{'cases':>6}  {'job':12} {'seconds':>8} {'MiB':>6} {'largest child':>14}")
    for cases in options.cases:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "Dataset900_Many"
            write_dataset(folder, cases, options.type)
            for job, arguments in (
                ("verify", ("verify",)),
                ("fingerprint", ("fingerprint",)),
                ("", ("create", "--preset", "M")),
                ("preprocess", ("preprocess", "3d_fullres", "--workers", "2")),
                ("evaluate", ("evaluate", "labelsTr", "-r", "labelsTr", "-o", "summary.json")),
            ):
                peak = peak_of(arguments, folder)
                child = "" if peak.child is None else f"{peak.child:.0f}"
                if job:
                    print(
                        f"{cases:6}  {job:12} {peak.seconds:8.1f} {peak.main:6.0f} {child:>14}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
