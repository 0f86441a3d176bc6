"""Planning a KiTS-like dataset: in process, as a whole command, and what `--help` costs."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import PEER_PYTHON, SHARED, Command, compare, peer_command, print_table

DATASET = "Dataset999_Synthetic"

OURS_IN_PROCESS = """
import json, sys, time
from resenc_plans import Fingerprint, create_plans
from resenc_plans.datasets.dataset_json import DatasetJson
folder, repeats = sys.argv[1], int(sys.argv[2])
fingerprint = Fingerprint.load(f"{folder}/dataset_fingerprint.json")
dataset = DatasetJson.load(f"{folder}/dataset.json")
seconds = []
for _ in range(repeats):
    start = time.perf_counter()
    plan = create_plans(fingerprint, dataset, preset="M", dataset_name="Dataset999_Synthetic")
    seconds.append(time.perf_counter() - start)
json.dump([seconds, plan.to_dict()], sys.stdout)
"""

THEIRS_IN_PROCESS = """
import contextlib, io, json, sys, time
from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
    residual_encoder_unet_planners as planners,
)
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
seconds = []
for _ in range(int(sys.argv[2])):
    with contextlib.redirect_stdout(io.StringIO()):
        planner = planners.nnUNetPlannerResEncM("Dataset999_Synthetic")
        planner.determine_reader_writer = lambda: SimpleITKIO
        start = time.perf_counter()
        planner.plan_experiment()
        seconds.append(time.perf_counter() - start)
plans = json.load(open(f"{sys.argv[1]}/nnUNetResEncUNetMPlans.json"))
json.dump([seconds, plans], sys.stdout)
"""


def make_dataset(root: Path) -> dict[str, str]:
    """nnU-Net's folders with a KiTS-like fingerprint; returns the environment that names them."""
    environment = {}
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        folder = root / variable
        (folder / DATASET).mkdir(parents=True)
        environment[variable] = str(folder)
    source = SHARED / "oracle" / "planning"
    description = (source / "KiTS__dataset.json").read_bytes()
    fingerprint = (source / "KiTS__fingerprint.json").read_bytes()
    raw, preprocessed = root / "nnUNet_raw" / DATASET, root / "nnUNet_preprocessed" / DATASET
    for folder in (raw, preprocessed):
        (folder / "dataset.json").write_bytes(description)
    (preprocessed / "dataset_fingerprint.json").write_bytes(fingerprint)
    # nnU-Net opens one image to choose its reader; any readable image will do.
    (raw / "imagesTr").mkdir()
    (raw / "labelsTr").mkdir()
    image = next((SHARED / "data" / "Dataset004_Hippocampus" / "imagesTr").glob("*.nii.gz"))
    (raw / "imagesTr" / "case_0000.nii.gz").write_bytes(image.read_bytes())
    (raw / "labelsTr" / "case.nii.gz").write_bytes(image.read_bytes())
    return environment


def in_process(
    python: str, code: str, folder: Path, repeats: int, env: dict[str, str]
) -> list[float]:
    """Seconds of each planning run in one process of `python`; the plans go to `folder`."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, str(folder), str(repeats)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, plans = json.loads(done.stdout)
    (folder / f"in_process_{Path(python).parent.parent.name}.json").write_text(json.dumps(plans))
    return [float(value) for value in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        environment = make_dataset(root)
        folder = root / "nnUNet_preprocessed" / DATASET
        ours = in_process(sys.executable, OURS_IN_PROCESS, folder, 4 * repeats, environment)
        theirs = in_process(str(PEER_PYTHON), THEIRS_IN_PROCESS, folder, repeats, environment)
        results = [path.read_text() for path in folder.glob("in_process_*.json")]
        if len(results) != 2 or results[0] != results[1]:
            sys.exit("The two plans differ.")
        fast, slow = statistics.median(ours), statistics.median(theirs)
        print("Planning a KiTS-like fingerprint (489 cases, preset M) in process, medians:")
        print(f"  ours {fast * 1e3:.1f} ms, nnU-Net {slow:.2f} s: {slow / fast:.0f} times faster")
        print("Both wrote the same plans.\n")
        environment_pairs = tuple(environment.items())
        resenc_plans = str(Path(sys.executable).with_name("resenc-plans"))
        for path in folder.glob("in_process_*.json"):
            path.unlink()
        print_table(
            [
                compare(
                    "create, KiTS-like",
                    Command(
                        (resenc_plans, "create", "-d", "999", "--preset", "M", "--name", "Ours"),
                        environment_pairs,
                    ),
                    peer_command(
                        "nnUNetv2_plan_experiment",
                        *("-d", "999", "-pl", "nnUNetPlannerResEncM"),
                        **environment,
                    ),
                    repeats,
                ),
                compare(
                    "--help",
                    Command((resenc_plans, "--help"), environment_pairs),
                    peer_command("nnUNetv2_plan_experiment", "--help", **environment),
                    repeats,
                ),
            ]
        )


if __name__ == "__main__":
    main()
