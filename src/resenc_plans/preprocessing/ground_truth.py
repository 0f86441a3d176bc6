"""The reference segmentations beside the preprocessed cases, where nnU-Net's validation looks."""

import os
import shutil
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.images.segmentation_files import segmentation_file
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.files import inside, make_folder, open_regular, replace_file
from resenc_plans.folders import GROUND_TRUTH


def outdated_copies(
    dataset: Dataset, preprocessed: str | os.PathLike[str]
) -> tuple[tuple[Path, Path], ...]:
    """Labels that are newer than their copies in <preprocessed>/gt_segmentations, with these.

    Raises
    ------
    FileError
        A case has a name that no file can have, or a copy would lie outside of `preprocessed`.
    """
    folder = Path(preprocessed) / GROUND_TRUTH
    outdated = []
    for case in dataset.cases:
        copy = segmentation_file(folder, case.name, dataset.json.file_ending)
        if case.label is None or not case.label.is_file():
            continue
        if not copy.is_file() or copy.stat().st_mtime < case.label.stat().st_mtime:
            outdated.append((case.label, copy))
    if outdated:  # A link to labelsTr, which is never out of date, may stay.
        inside(Path(preprocessed), folder)
    return tuple(outdated)


def copy_ground_truth(dataset: Dataset, preprocessed: str | os.PathLike[str]) -> None:
    """Copy the labels of all cases that are newer to <preprocessed>/gt_segmentations.

    Raises
    ------
    DatasetError
        A label file cannot be read.
    FileError
        The copies cannot be written, or would lie outside of `preprocessed`.
    """
    outdated = outdated_copies(dataset, preprocessed)
    folder = Path(preprocessed) / GROUND_TRUTH
    make_folder(folder)
    for label, copy in outdated:
        try:
            source = open_regular(label)
        except FileError as error:
            raise DatasetError(str(error)) from None
        with source, replace_file(copy) as target:
            shutil.copyfileobj(source, target)
