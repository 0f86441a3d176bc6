"""Measure every prediction of a folder against its reference, region by region."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.labels import Region
from resenc_plans.evaluation.task import EvaluationTask, prediction_names, read_pair
from resenc_plans.execution.cases import CaseProblem, each_case

Result = TypeVar("Result")

Measure = Callable[..., Sequence[Result]]
"""Of label maps `(z, y, x)`: `(prediction, reference, spacing, regions, ignore_label=)`.

It returns a result per region, in their order.
"""


def measure_pairs(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    measure: Measure[Result],
    *,
    on_case: Callable[[str], object] | None = None,
) -> tuple[dict[str, dict[Region, Result]], tuple[CaseProblem, ...]]:
    """The results by file name and region, and the cases that could not be measured.

    Parameters
    ----------
    predictions, references
        Folders of segmentations with the same file names.
    task
        The labels or regions to measure.
    measure
        What to compute of each pair.
    on_case
        Called with the file name of each finished case.

    Raises
    ------
    EvaluationError
        A folder does not exist, or there is nothing to measure.
    """

    def of_case(name: str) -> dict[Region, Result]:
        paths = [os.path.join(folder, name) for folder in (predictions, references)]  # noqa: PTH118
        prediction, reference = read_pair(paths[0], paths[1], task.reader)
        results = measure(
            prediction.array[0], reference.array[0], reference.spacing, task.regions,
            ignore_label=task.ignore_label,
        )  # fmt: skip
        return dict(zip(task.regions, results, strict=True))

    names = prediction_names(predictions, task.file_ending)
    results = each_case(of_case, names, workers=1, on_case=on_case)
    cases: dict[str, dict[Region, Result]] = {}
    problems: list[CaseProblem] = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, CaseProblem):
            problems.append(result)
        else:
            cases[name] = result
    return cases, tuple(problems)


def without_ignored(
    prediction: NDArray[Any], reference: NDArray[Any], ignore_label: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both label maps with background where the reference has the ignore label."""
    if ignore_label is None:
        return prediction, reference
    is_ignored = reference == ignore_label
    return np.where(is_ignored, 0, prediction), np.where(is_ignored, 0, reference)
