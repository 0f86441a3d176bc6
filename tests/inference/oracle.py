"""nnU-Net 2.8.1's predictions of images of Dataset004_Hippocampus, by its own model."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.images.images import read_label


def images_of(shared: Path) -> Path:
    return shared / "data" / "Dataset004_Hippocampus" / "imagesTr"


def oracle_of(shared: Path, name: str, case: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The labels and the probabilities of a case."""
    folder = shared / "oracle" / "predictions" / name
    probabilities = np.load(folder / f"hippocampus_{case}.npz")["probabilities"]
    return read_label(folder / f"hippocampus_{case}.nii.gz").array[0], probabilities
