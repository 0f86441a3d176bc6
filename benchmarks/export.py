"""Labels from logits of a large CT: `resenc_plans` against nnU-Net's export, and beyond it.

Seconds are those of the function alone; memory is the peak of the whole process, logits included
where they are in memory. nnU-Net takes 10 GB and a minute, so it runs once. For 50 classes it would
need 29 GiB, so only ours runs: with logits in memory, and streamed from a file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import PEER_PYTHON, Comparison, Measurement, print_table

SHAPE, NEW_SHAPE = (375, 459, 459), (300, 512, 512)
SPACING, NEW_SPACING = (1.0, 0.8, 0.8), (1.25, 0.72, 0.72)
FEW, MANY = 10, 50

MAKE_INPUT = """
import sys
import numpy as np
from scipy.ndimage import zoom
heads, shape, path = int(sys.argv[1]), eval(sys.argv[2]), sys.argv[3]
random = np.random.default_rng(0)
logits = np.lib.format.open_memmap(path, "w+", np.float16, (heads, *shape))
for head in logits:
    coarse = random.standard_normal([n // 32 + 2 for n in shape], dtype=np.float32)
    planes = zoom(coarse, [4.0, 4.0, 4.0], order=3)
    fine = zoom(planes, [n / m for n, m in zip(shape, planes.shape)], order=1)
    head[...] = 6 * fine
logits[0] += np.float16(6)
"""

MEASURE = """
import json, resource, sys, time
import numpy as np
source, mode, target = sys.argv[1:]
shape, spacing, new_spacing = {shape}, {spacing}, {new_spacing}
logits = np.load(source, mmap_mode=mode or None)
{prepare}
times = []
for _ in range({repeats}):
    start = time.perf_counter()
    result = {call}
    times.append(time.perf_counter() - start)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
np.save(target, result)
json.dump([times, peak], sys.stdout)
"""

OURS = """
from resenc_plans.inference import export_labels
first = np.zeros((2, 2, 2, 2), logits.dtype)
start = time.perf_counter()
export_labels(first, (3, 3, 3), spacing=spacing, new_spacing=new_spacing)
print(f"loading compiled code: {time.perf_counter() - start:.2f} s", file=sys.stderr)
"""
OUR_CALL = "export_labels(logits, shape, spacing=spacing, new_spacing=new_spacing)"

THEIRS = """
from types import SimpleNamespace
import torch
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape as convert)
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.utilities.label_handling.label_handling import LabelManager
names = {"background": 0} | {str(i): i for i in range(1, len(logits))}
plans = SimpleNamespace(transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2])
config = SimpleNamespace(spacing=spacing, resampling_fn_probabilities=lambda *a: (
    resample_data_or_seg_to_shape(*a, is_seg=False, order=1, order_z=0, force_separate_z=None)))
properties = {"spacing": new_spacing, "shape_after_cropping_and_before_resampling": shape,
    "shape_before_cropping": shape, "bbox_used_for_cropping": [[0, n] for n in shape]}
logits = torch.from_numpy(logits)
"""
THEIR_CALL = "convert(logits, plans, config, LabelManager(names, None), properties)"

DIFFERENT = """
import sys
import numpy as np
ours, theirs = (np.load(path, mmap_mode="r") for path in sys.argv[1:])
print(int((ours != theirs).sum()), ours.size)
"""


def run(python: str | Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", code, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"exit code {done.returncode}")
    return done.stdout


def measure(
    python: str | Path, prepare: str, call: str, repeats: int, *arguments: str
) -> Measurement:
    code = MEASURE.format(
        shape=NEW_SHAPE, spacing=SPACING, new_spacing=NEW_SPACING,
        prepare=prepare, call=call, repeats=repeats,
    )  # fmt: skip
    times, peak = json.loads(run(python, code, *arguments))
    return Measurement(statistics.median(times), peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to keep the logits (9 GB)")
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        print(f"float16 logits {SHAPE} to {NEW_SHAPE}, 2 threads")
        few, many = (logits_file(folder, heads) for heads in (FEW, MANY))
        target = str(folder / "ours.npy")
        ours = measure(sys.executable, OURS, OUR_CALL, options.repeats, str(few), "", target)
        print_alone(f"{FEW} classes in memory", ours)
        if not options.only_ours:
            their_target = str(folder / "theirs.npy")
            theirs = measure(PEER_PYTHON, THEIRS, THEIR_CALL, 1, str(few), "", their_target)
            print_table([Comparison(f"export of {FEW} classes", ours, theirs)])
            different, voxels = run(sys.executable, DIFFERENT, target, their_target).split()
            print(f"{different} of {voxels} labels differ")
        for mode in ("r", ""):
            done = measure(sys.executable, OURS, OUR_CALL, 1, str(many), mode, target)
            print_alone(f"{MANY} classes {'streamed' if mode else 'in memory'}", done)


def logits_file(folder: Path, heads: int) -> Path:
    path = folder / f"logits{heads}.npy"
    if not path.is_file():
        run(sys.executable, MAKE_INPUT, str(heads), str(SHAPE), str(path))
    return path


def print_alone(job: str, done: Measurement) -> None:
    print(f"{job}: {done.seconds:.2f} s, peak {done.peak_mib:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
