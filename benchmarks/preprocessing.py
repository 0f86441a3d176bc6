"""Preprocessing both shared datasets with 2 workers: against nnUNetv2_preprocess."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from side_by_side import SHARED, Command, Comparison, compare, peer_command, print_table

JOBS = (
    ("Dataset004_Hippocampus", "nnUNetPlans", "3d_fullres"),
    ("Dataset004_Hippocampus", "nnUNetResEncUNetMPlans_edited", "3d_fullres_iso08"),
    ("Dataset501_BrainMR", "nnUNetPlans", "3d_fullres"),
)

OURS = """
import sys
from resenc_plans import Dataset, Plans
from resenc_plans.preprocessing import Preprocessor
from resenc_plans.preprocessing.ground_truth import copy_ground_truth
dataset, plans, configuration, preprocessed = sys.argv[1:]
plan = Plans.load(plans)
config = plan.resolve(configuration)
data = Dataset.load(dataset)
folder = f"{preprocessed}/{config.data_identifier}"
report = Preprocessor(config, plan).run(data, folder, workers=2, force=True)
copy_ground_truth(data, preprocessed)
sys.exit(bool(report.problems))
"""


def compare_preprocessing(
    dataset: str, plans: str, configuration: str, folder: Path, repeats: int
) -> tuple[Comparison, int, int]:
    """The comparison, and the bytes that each program left in its folder of cases."""
    ours, theirs = folder / "ours" / dataset, folder / "theirs" / dataset
    for preprocessed in (ours, theirs):
        preprocessed.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHARED / "oracle" / dataset / f"{plans}.json", preprocessed)
        shutil.copy(SHARED / "data" / dataset / "dataset.json", preprocessed)
    plans_file = str(ours / f"{plans}.json")
    comparison = compare(
        f"{dataset}, {configuration}",
        Command(
            (
                *(sys.executable, "-c", OURS),
                *(str(SHARED / "data" / dataset), plans_file, configuration, str(ours)),
            )
        ),
        peer_command(
            "nnUNetv2_preprocess",
            *("-d", dataset[7:10], "-plans_name", plans, "-c", configuration, "-np", "2"),
            nnUNet_raw=str(SHARED / "data"),
            nnUNet_preprocessed=str(folder / "theirs"),
            nnUNet_results=str(folder),
            OMP_NUM_THREADS="1",
        ),
        repeats,
    )
    return comparison, _stored_bytes(ours), _stored_bytes(theirs)


def _stored_bytes(preprocessed: Path) -> int:
    folders = [path for path in preprocessed.iterdir() if path.name.startswith("nnUNetPlans_")]
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    return sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        results = [compare_preprocessing(*job, Path(folder), repeats) for job in JOBS]
    print_table([comparison for comparison, _, _ in results])
    for comparison, ours, theirs in results:
        print(
            f"{comparison.job}: {ours / 1e6:.1f} MB on disk, nnU-Net {theirs / 1e6:.1f} MB "
            f"({ours / theirs:.0%})"
        )


if __name__ == "__main__":
    main()
