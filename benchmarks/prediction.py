"""Predicting 20 hippocampus volumes with the shared model, start-up included, on the CPU.

    python benchmarks/prediction.py [--repeats 2] [--cases 20]

`resenc-plans predict` in fp32 and by default, against nnUNetv2_predict_from_modelfolder, with
mirroring. Prints how many voxels differ from nnU-Net's.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from side_by_side import SHARED, Command, compare, peer_command, print_table

MODEL = SHARED / "oracle" / "model"
IMAGES = SHARED / "data" / "Dataset004_Hippocampus" / "imagesTr"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for image in sorted(IMAGES.glob("*.nii.gz"))[: options.cases]:
            (folder / "in" / image.name).symlink_to(image)
        arguments = ("-i", str(folder / "in"), "-m", str(MODEL), "-f", "0", "-device", "cpu")
        theirs = peer_command(
            "nnUNetv2_predict_from_modelfolder",
            *(*arguments, "-o", str(folder / "theirs")),
            **dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), name),
        )
        ours = [sys.executable, "-m", "resenc_plans", "predict", *arguments]
        comparisons = []
        for title, precision in (("fp32", ("--precision", "fp32")), ("default", ())):
            output = ("-o", str(folder / title))
            job = f"predict {options.cases} cases, {title}"
            comparisons.append(
                compare(job, Command((*ours, *precision, *output)), theirs, options.repeats)
            )
        print_table(comparisons)
        for title in ("fp32", "default"):
            print(f"{title}: {different_voxels(folder / title, folder / 'theirs')}")


def different_voxels(ours: Path, theirs: Path) -> str:
    """How many voxels of two folders of segmentations differ, in words."""
    from resenc_plans.datasets.images.images import read_label

    differing = total = 0
    for path in sorted(theirs.glob("*.nii.gz")):
        pair = [read_label(folder / path.name).array for folder in (ours, theirs)]
        differing += int(np.count_nonzero(pair[0] != pair[1]))
        total += pair[0].size
    return f"{differing} of {total} voxels differ"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
