"""The mean of several predictions' probabilities, and its segmentation (nnU-Net's ensemble).

All files of a case are read together, head by head and some planes at a time; no more is held than
the largest mean so far and the labels.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.segmentation_files import (
    remove_old_summary,
    segmentation_file,
    write_segmentation,
)
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import FileError, PredictionError, UsageError
from resenc_plans.execution.cases import CaseProblem, each_case, separate
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.files import make_folder, replace_file
from resenc_plans.folders import DATASET_JSON
from resenc_plans.inference.export.npz_stream import ArrayReader, write_npz
from resenc_plans.inference.export.probabilities import ARRAY_NAME
from resenc_plans.safe_pickle import dump_pickle, load_pickle

FloatArray = npt.NDArray[np.float32]
LabelMap = npt.NDArray[Any]

logger = logging.getLogger(__name__)

VALUES_AT_ONCE = 1 << 22
"""About so many values of each file are held at a time."""
MAX_WORKERS = 4
"""Each holds the largest mean and the labels of a case, half a gigabyte for a large CT."""


@dataclass(frozen=True)
class EnsembleResult:
    """What became of all cases."""

    done: tuple[str, ...]
    problems: tuple[CaseProblem, ...]


def ensemble_folders(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    probabilities: bool = False,
    workers: int | None = None,
    on_case: Callable[[str], None] | None = None,
) -> EnsembleResult:
    """Average the probabilities (.npz) of all cases in several folders; write segmentations.

    Equals nnU-Net's `ensemble_folders`. Labels and file ending are those of the dataset.json in the
    first folder, which is copied; header and grid are those of the first folder's .pkl.

    Parameters
    ----------
    folders
        Each holds CASE.npz and CASE.pkl for the same cases.
    output
        Where CASE with the dataset's file ending is written.
    probabilities
        Whether the means are written too, as .npz with .pkl.
    workers
        Cases to work on at a time, each in a thread; by default one per CPU, at most four.
    on_case
        Called in this thread with the name of each finished case.

    Returns
    -------
    The cases that succeeded, and those whose files are damaged or do not fit, with the reason.

    Raises
    ------
    FileError
        A folder does not exist or has no probabilities, they hold different cases, the first has no
        dataset.json, or `output` cannot be written.
    DatasetError
        The dataset.json is not usable.
    """
    if isinstance(folders, str | os.PathLike):
        raise UsageError(f"`folders=` is one folder. Give several, such as [{str(folders)!r}].")
    paths = [Path(folder) for folder in folders]
    cases = _common_cases(paths)
    source = paths[0] / DATASET_JSON
    dataset = DatasetJson.load(source)
    labels = Labels.from_dataset(dataset)
    output = Path(output)
    targets = {case: segmentation_file(output, case, dataset.file_ending) for case in cases}
    make_folder(output)
    if any(path.resolve() == output.resolve() for path in paths):
        raise FileError(f"{output}: is one of the folders to be averaged. Name another output.")
    about_summary = remove_old_summary(output, targets.values())
    if about_summary is not None:
        logger.warning("%s", about_summary)
    with source.open("rb") as original, replace_file(output / DATASET_JSON) as copy:
        shutil.copyfileobj(original, copy)

    def work(case: str) -> None:
        ensemble_case(
            [segmentation_file(path, case, ".npz") for path in paths],
            targets[case],
            labels,
            probabilities=segmentation_file(output, case, ".npz") if probabilities else None,
        )

    workers = workers or min(usable_cpus(), MAX_WORKERS)
    _, problems = separate(each_case(work, cases, workers=workers, on_case=on_case))
    failed = {problem.case for problem in problems}
    return EnsembleResult(tuple(case for case in cases if case not in failed), problems)


def ensemble_case(
    files: Sequence[Path], segmentation: Path, labels: Labels, probabilities: Path | None = None
) -> None:
    """Average the probabilities of one case and write its segmentation.

    Parameters
    ----------
    files
        A .npz for each prediction; a .pkl beside the first has the header.
    segmentation
        The image file to write.
    labels
        Those of the dataset.
    probabilities
        Where to write the mean (.npz, with .pkl), or None.

    Raises
    ------
    FileError
        A file is missing or damaged, or cannot be written.
    PredictionError
        The arrays differ in shape, or do not fit the labels.
    """
    properties = load_pickle(files[0].with_suffix(".pkl"))
    with ExitStack() as stack:
        readers = [stack.enter_context(ArrayReader(path, ARRAY_NAME)) for path in files]
        shape = _common_shape(readers, labels)
        target = (
            stack.enter_context(write_npz(probabilities, ARRAY_NAME, shape, np.float32))
            if probabilities is not None
            else None
        )
        choice = _Choice(shape, labels)
        plane = shape[2] * shape[3]
        planes = max(1, VALUES_AT_ONCE // max(plane, 1))
        for head in range(shape[0]):
            for z in range(0, shape[1], planes):
                stop = min(z + planes, shape[1])
                mean = _mean(readers, (stop - z) * plane).reshape(stop - z, *shape[2:])
                choice.consider(head, slice(z, stop), mean)
                if target is not None:
                    target.write(mean)
    write_segmentation(choice.labels, segmentation, properties)
    if probabilities is not None:
        with replace_file(probabilities.with_suffix(".pkl")) as stream:
            stream.write(dump_pickle(properties))


class _Choice:
    """The label of each voxel, as head after head is seen."""

    def __init__(self, shape: tuple[int, ...], labels: Labels) -> None:
        self._order = labels.regions_class_order
        self.labels: LabelMap = np.zeros(shape[1:], np.uint8 if shape[0] < 255 else np.uint16)
        self._best: FloatArray | None = None
        if self._order is None:
            self._best = np.full(shape[1:], -np.inf, np.float32)
        elif max(self._order) > 255:
            self.labels = self.labels.astype(np.uint16)

    def consider(self, head: int, planes: slice, mean: FloatArray) -> None:
        """Take in a head's mean probabilities in some planes; heads must come in order."""
        if self._order is not None:
            self.labels[planes][mean > 0.5] = self._order[head]
        elif self._best is not None:
            best = self._best[planes]
            self.labels[planes][mean > best] = head
            np.maximum(best, mean, out=best)


def _mean(readers: Sequence[ArrayReader], count: int) -> FloatArray:
    """The mean of the next `count` values of each file, added up in float32 as nnU-Net does."""
    total = readers[0].read(count).astype(np.float32)
    for reader in readers[1:]:
        total += reader.read(count)
    total /= len(readers)
    return total


def _common_shape(readers: Sequence[ArrayReader], labels: Labels) -> tuple[int, ...]:
    first = readers[0]
    for reader in readers[1:]:
        if reader.shape != first.shape:
            raise PredictionError(
                f"{reader.path}: holds probabilities of shape {reader.shape}, but {first.path} "
                f"{first.shape} (heads, z, y, x). Are these predictions of the same image?"
            )
    if len(first.shape) != 4 or first.shape[0] != labels.num_heads:
        raise PredictionError(
            f"{first.path}: holds an array of shape {first.shape}, but the dataset's labels make "
            f"({labels.num_heads}, z, y, x)."
        )
    return first.shape


def _common_cases(folders: Sequence[Path]) -> list[str]:
    if not folders:
        raise FileError("No folder of probabilities was named.")
    names = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder.")
        names[folder] = {path.stem for path in folder.glob("*.npz")}
        if not names[folder]:
            raise FileError(
                f"{folder}: has no probabilities (.npz files). Predict again with `probabilities=`."
            )
    all_cases = set().union(*names.values())
    gaps = [
        f"{folder} lacks {', '.join(sorted(all_cases - cases)[:5])}"
        + (f" and {len(all_cases - cases) - 5} more" if len(all_cases - cases) > 5 else "")
        for folder, cases in names.items()
        if all_cases - cases
    ]
    if gaps:
        raise FileError(f"The folders hold different cases: {'; '.join(gaps)}.")
    return sorted(all_cases)
