"""Evaluating 60 small segmentations and 10 large ones: against nnUNetv2_evaluate_folder."""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from side_by_side import SHARED, Command, Comparison, compare, peer_command, print_table

DATASET = SHARED / "data" / "Dataset004_Hippocampus"
PLANS = SHARED / "oracle" / "Dataset004_Hippocampus" / "nnUNetPlans.json"
LARGE = (200, 300, 300)


def write_pairs(folder: Path, cases: int, large: bool) -> None:
    """References as they are, or repeated to a large image, and predictions a voxel off."""
    for kind in ("ref", "pred"):
        (folder / kind).mkdir(parents=True)
    for path in sorted((DATASET / "labelsTr").glob("*.nii.gz"))[:cases]:
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        if large:
            array = np.pad(
                array.repeat(4, 0).repeat(4, 1).repeat(4, 2),
                [
                    (0, max(0, full - 4 * size))
                    for full, size in zip(LARGE, array.shape, strict=True)
                ],
            )[tuple(slice(0, full) for full in LARGE)]
        for kind, shift in (("ref", 0), ("pred", 1)):
            shifted = sitk.GetImageFromArray(np.roll(array, shift, 1))
            if not large:
                shifted.CopyInformation(image)  # type: ignore[no-untyped-call]
            sitk.WriteImage(shifted, str(folder / kind / path.name), True)


def compare_evaluation(folder: Path, cases: int, large: bool, repeats: int) -> Comparison:
    write_pairs(folder, cases, large)
    pred, ref = str(folder / "pred"), str(folder / "ref")
    dataset_json = str(DATASET / "dataset.json")
    ours = Command(
        (
            *(sys.executable, "-m", "resenc_plans", "evaluate", pred, "-r", ref),
            *("-d", dataset_json, "-np", "2", "-o", str(folder / "ours.json")),
        )
    )
    theirs = peer_command(
        "nnUNetv2_evaluate_folder",
        *(ref, pred, "-djfile", dataset_json, "-pfile", str(PLANS), "-np", "2"),
        *("-o", str(folder / "theirs.json")),
        OMP_NUM_THREADS="1",
    )
    size = f"{'x'.join(map(str, LARGE))}" if large else "Hippocampus"
    comparison = compare(f"evaluate, {cases} cases, {size}", ours, theirs, repeats)
    if (folder / "ours.json").read_text() != (folder / "theirs.json").read_text():
        sys.exit(f"{comparison.job}: the two summaries differ")
    return comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        print_table(
            [
                compare_evaluation(Path(folder) / "small", 60, False, repeats),
                compare_evaluation(Path(folder) / "large", 10, True, repeats),
            ]
        )


if __name__ == "__main__":
    main()
