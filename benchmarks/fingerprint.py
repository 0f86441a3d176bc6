"""Fingerprints of both shared datasets: `resenc_plans` against nnUNetv2_extract_fingerprint."""

import argparse
import sys
import tempfile
from pathlib import Path

from side_by_side import SHARED, Command, Comparison, compare, peer_command, print_table

DATASETS = ("Dataset004_Hippocampus", "Dataset501_BrainMR")


def compare_fingerprints(dataset: str, folder: Path, repeats: int) -> Comparison:
    ours = folder / f"{dataset}.json"
    theirs = folder / dataset / "dataset_fingerprint.json"
    comparison = compare(
        f"fingerprint of {dataset}",
        Command(
            (
                *(sys.executable, "-m", "resenc_plans", "fingerprint", "--overwrite"),
                *("-d", str(SHARED / "data" / dataset), "-o", str(ours)),
            )
        ),
        peer_command(
            "nnUNetv2_extract_fingerprint",
            *("-d", dataset[7:10], "-np", "2", "--clean"),
            nnUNet_raw=str(SHARED / "data"),
            nnUNet_preprocessed=str(folder),
            nnUNet_results=str(folder),
        ),
        repeats,
    )
    if ours.read_bytes() != theirs.read_bytes():
        sys.exit(f"{dataset}: the two fingerprints differ: {ours.read_text()[:1000]}")
    return comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        print_table([compare_fingerprints(dataset, Path(folder), repeats) for dataset in DATASETS])
    print("Both programs wrote the same bytes.")


if __name__ == "__main__":
    main()
