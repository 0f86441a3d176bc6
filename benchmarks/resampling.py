"""Resampling of large volumes: `resenc_plans` against nnU-Net's resample_data_or_seg_to_shape.

Seconds are those of the function alone; memory is the peak of the whole process, with the input.
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

SHAPE, NEW_SHAPE = (300, 512, 512), (375, 459, 459)
ISOTROPIC, COARSE_Z = (1.0, 1.0, 1.0), (5.0, 1.0, 1.0)
JOBS = {
    "cubic, image": ("image", ISOTROPIC),
    "cubic, segmentation": ("labels", ISOTROPIC),
    "anisotropic, image": ("image", COARSE_Z),
    "anisotropic, segmentation": ("labels", COARSE_Z),
}

MAKE_INPUT = """
import sys
import numpy as np
from scipy.ndimage import gaussian_filter
shape, folder = eval(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(0)
np.save(f"{folder}/image.npy", random.standard_normal((1, *shape), dtype=np.float32))
coarse = random.standard_normal([n // 4 for n in shape], dtype=np.float32)
noise = gaussian_filter(coarse, 4)
for axis in range(3):
    noise = noise.repeat(4, axis)
labels = np.digitize(noise, np.quantile(noise[::8], (0.8, 0.95)))
np.save(f"{folder}/labels.npy", labels[None].astype(np.int16))
"""

MEASURE = """
import json, resource, sys, time
import numpy as np
kind, shape, spacing, source, target, rule = sys.argv[1:]
array, shape, spacing = np.load(source), eval(shape), eval(spacing)
{prepare}
start = time.perf_counter()
result = {call}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
np.save(target, result)
json.dump([seconds, peak], sys.stdout)
"""

OURS = MEASURE.format(
    prepare="""
from resenc_plans.preprocessing import resample_image, resample_labels
spacings = {"spacing": spacing, "new_spacing": spacing}
function = resample_image if kind == "image" else resample_labels
options = {} if kind == "image" else {"rule": rule}
""",
    call="function(array, shape, **spacings, **options)",
)
THEIRS = MEASURE.format(
    prepare="""
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
is_seg = kind != "image"
options = {"is_seg": is_seg, "order": 1 if is_seg else 3, "force_separate_z": None}
""",
    call="resample_data_or_seg_to_shape(array, shape, spacing, spacing, **options)",
)

RULE = """
from importlib.metadata import version
print("argmax" if tuple(map(int, version("batchgenerators").split("."))) >= (0, 25, 4)
      else "threshold")
"""

DIFFERENCE = """
import sys
import numpy as np
ours, theirs = (np.load(path, mmap_mode="r") for path in sys.argv[1:])
print(max(float(np.abs(a - b).max()) for a, b in zip(ours[0], theirs[0])),
      sum(int((a != b).sum()) for a, b in zip(ours[0], theirs[0])))
"""


def run(python: str | Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", code, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done.stdout


def compare_job(job: str, folder: Path, rule: str, repeats: int) -> Comparison:
    kind, spacing = JOBS[job]
    runs: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for name, python, code in (
            ("ours", sys.executable, OURS),
            ("theirs", str(PEER_PYTHON), THEIRS),
        ):
            source, target = folder / f"{kind}.npy", folder / f"{name}.npy"
            arguments = (kind, str(NEW_SHAPE), str(spacing), str(source), str(target), rule)
            runs[name].append(json.loads(run(python, code, *arguments)))
    results = (str(folder / "ours.npy"), str(folder / "theirs.npy"))
    largest, unequal = run(sys.executable, DIFFERENCE, *results).split()
    if kind == "labels" and unequal != "0":
        sys.exit(f"{job}: {unequal} voxels differ")
    if float(largest) > 1e-4:
        sys.exit(f"{job}: the images differ by {largest}")
    return Comparison(job, _median(runs["ours"]), _median(runs["theirs"]))


def _median(runs: list[list[float]]) -> Measurement:
    return Measurement(*(statistics.median(values) for values in zip(*runs, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    rule = run(PEER_PYTHON, RULE).strip()
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, MAKE_INPUT, str(SHAPE), folder)
        print(f"{SHAPE} to {NEW_SHAPE}, labels by the rule {rule!r}, 2 threads")
        print_table([compare_job(job, Path(folder), rule, repeats) for job in JOBS])
    print("Segmentations are equal voxel for voxel, images to 1e-5 of their range.")


if __name__ == "__main__":
    main()
