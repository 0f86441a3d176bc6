"""The reference segmentations beside the preprocessed cases, where nnU-Net's validation looks."""

import os
import shutil
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.files import inside, part_of_path, replace_file
from resenc_plans.folders import GROUND_TRUTH


def copy_ground_truth(dataset: Dataset, preprocessed: str | os.PathLike[str]) -> None:
    """Copy the labels of all cases that are newer to <preprocessed>/gt_segmentations.

    Raises
    ------
    DatasetError
        A label file cannot be read.
    FileError
        The copies cannot be written, or would lie outside of `preprocessed`.
    """
    folder = inside(Path(preprocessed), Path(preprocessed) / GROUND_TRUTH)
    ending = dataset.json.file_ending
    copies = {
        case: folder / part_of_path(case.name, "case", ending=ending) for case in dataset.cases
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be created: {error.strerror}.") from None
    for case, copy in copies.items():
        if case.label is None or not case.label.is_file():
            continue
        if copy.is_file() and copy.stat().st_mtime >= case.label.stat().st_mtime:
            continue
        try:
            source = case.label.open("rb")
        except OSError as error:
            raise DatasetError(f"{case.label}: cannot be read: {error.strerror}.") from None
        with source, replace_file(copy) as target:
            shutil.copyfileobj(source, target)
