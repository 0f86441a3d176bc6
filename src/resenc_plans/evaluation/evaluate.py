"""Evaluate a folder of segmentations against a folder of references, case by case."""

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.images import Image, read_label
from resenc_plans.datasets.images.readers import READERS_BY_ENDING, reader_writer_name
from resenc_plans.datasets.labels import Labels, Region
from resenc_plans.errors import DatasetError, ResencPlansError
from resenc_plans.evaluation.metrics import count_voxels
from resenc_plans.evaluation.summary import CaseFigures, Summary
from resenc_plans.execution.cpus import usable_cpus

SAME_SPACING = 1e-3
"""Relative difference of spacings that rounding in headers explains."""


@dataclass(frozen=True)
class Question:
    """What is asked of every case."""

    regions: tuple[Region, ...]
    """Labels, or regions, in the order of dataset.json."""
    ignore_label: int | None = None
    reader: str | None = None
    """nnU-Net's reader for the files; by default the file ending decides."""
    file_ending: str | None = None
    """Ending of the files to evaluate; by default any that a reader knows."""

    @property
    def foreground_labels(self) -> tuple[int, ...]:
        """The label values that occur in `regions`, in rising order, without the background."""
        flat = {v for r in self.regions for v in (r if isinstance(r, tuple) else (r,))}
        return tuple(sorted(flat - {0}))

    @classmethod
    def of_dataset(cls, dataset_json: DatasetJson, example: Path | None = None) -> "Question":
        """What nnU-Net asks in a dataset: its foreground labels, or its regions."""
        labels = Labels.from_dataset(dataset_json)
        return cls(
            regions=labels.foreground_labels if labels.regions is None else labels.regions,
            ignore_label=labels.ignore_label,
            reader=reader_writer_name(dataset_json, example),
            file_ending=dataset_json.file_ending,
        )


@dataclass(frozen=True)
class Problem:
    """Why a case was not evaluated."""

    case: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What came of a folder."""

    summary: Summary | None
    """The figures of the cases that could be evaluated; None where there is none."""
    problems: tuple[Problem, ...]
    missing: tuple[str, ...]
    """References that have no prediction, by file name; nnU-Net passes over them or refuses."""


def evaluate_folder(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    question: Question,
    *,
    names: Collection[str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    on_case: Callable[[str], object] = lambda _: None,
) -> Evaluation:
    """Compare every segmentation in `predictions` with the reference of the same file name.

    The results are those of nnU-Net's `compute_metrics_on_folder`. `names` restricts the question
    to cases of these file names, in both folders; then a prediction that is not there is a problem.
    `workers` threads do the work, or the `executor`. `on_case` is called with the name of each
    finished case.

    Raises
    ------
    DatasetError
        One of the folders does not exist, or there is nothing to evaluate.
    """
    there = set(file_names(_folder(references), question.file_ending or ""))
    if names is None:
        names = prediction_names(predictions, question.file_ending)
    else:
        names, there = sorted(names), there.intersection(names)
    figures: dict[str, CaseFigures] = {}
    problems: dict[str, Problem] = {}
    with _executor(executor, workers) as pool:
        tasks = {
            pool.submit(
                evaluate_case,
                os.path.join(predictions, name),  # noqa: PTH118
                os.path.join(references, name),  # noqa: PTH118
                question,
            ): name
            for name in names
        }
        for task in as_completed(tasks):
            name = tasks[task]
            try:
                figures[name] = task.result()
            except ResencPlansError as error:
                problems[name] = Problem(name, str(error))
            except MemoryError:
                problems[name] = Problem(name, "too large for the memory at hand.")
            on_case(name)
    cases = tuple(figures[name] for name in names if name in figures)
    missing = there.difference(names)
    return Evaluation(
        Summary(cases, question.regions) if cases else None,
        tuple(problems[name] for name in names if name in problems),
        tuple(sorted(n for n in missing if question.file_ending or _is_image(n))),
    )


def evaluate_case(prediction_file: str, reference_file: str, question: Question) -> CaseFigures:
    """The figures of one case.

    Raises
    ------
    DatasetError
        A file is missing or unreadable, or the two differ in shape or spacing.
    """
    prediction, reference = read_pair(prediction_file, reference_file, question.reader)
    counts = count_voxels(
        prediction.array, reference.array, question.regions, question.ignore_label
    )
    metrics = {r: c.to_dict() for r, c in zip(question.regions, counts, strict=True)}
    return CaseFigures(prediction_file, reference_file, metrics)


def read_pair(
    prediction_file: str, reference_file: str, reader: str | None = None
) -> tuple[Image, Image]:
    """A prediction and its reference, `(1, z, y, x)` each, on one grid.

    Raises
    ------
    DatasetError
        A file is missing or unreadable, or the two differ in shape or spacing.
    """
    if not os.path.isfile(reference_file):  # noqa: PTH113
        raise DatasetError(f"{reference_file}: no such file, so the prediction has no reference.")
    prediction, reference = read_label(prediction_file, reader), read_label(reference_file, reader)
    if prediction.array.shape != reference.array.shape:
        raise DatasetError(
            f"{prediction_file}: has the shape {prediction.array.shape[1:]}, but the reference "
            f"has {reference.array.shape[1:]} (z, y, x)."
        )
    if not np.allclose(prediction.spacing, reference.spacing, rtol=SAME_SPACING, atol=0):
        raise DatasetError(
            f"{prediction_file}: has the spacing {_mm(prediction)}, but the reference has "
            f"{_mm(reference)} (z, y, x)."
        )
    return prediction, reference


def prediction_names(folder: str | os.PathLike[str], file_ending: str | None) -> list[str]:
    """Sorted names of the segmentations in a folder.

    Raises
    ------
    DatasetError
        There is no such folder, or nothing in it.
    """
    names = file_names(_folder(folder), file_ending or "")
    names = [name for name in names if file_ending or _is_image(name)]
    if not names:
        raise DatasetError(
            f"{os.fspath(folder)}: has no {file_ending or 'image'} file, so there is nothing to "
            "evaluate."
        )
    return names


def _folder(folder: str | os.PathLike[str]) -> Path:
    if not Path(folder).is_dir():
        raise DatasetError(f"{os.fspath(folder)}: no such folder.")
    return Path(folder)


def _is_image(name: str) -> bool:
    return name.lower().endswith(tuple(READERS_BY_ENDING))


def _mm(image: Image) -> str:
    return "x".join(f"{size:.5g}" for size in image.spacing) + " mm"


@contextmanager
def _executor(executor: Executor | None, workers: int | None) -> Iterator[Executor]:
    if executor is not None:
        yield executor
        return
    pool = ThreadPoolExecutor(workers or usable_cpus())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
