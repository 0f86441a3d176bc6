"""Which components to remove from segmentations: find it out on a cross-validation, and do it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.images.images import read_label
from resenc_plans.datasets.images.segmentation_files import write_segmentation
from resenc_plans.errors import EvaluationError
from resenc_plans.evaluation.metrics import Counts, count_voxels
from resenc_plans.evaluation.postprocessing.components import keep_largest_component
from resenc_plans.evaluation.summary import CaseFigures, Summary
from resenc_plans.evaluation.task import EvaluationTask, prediction_names, read_pair
from resenc_plans.execution.cases import CaseProblem, each_case, separate
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.runs.postprocessing_files import Selection

OnCase = Callable[[str], object]


@dataclass(frozen=True)
class Postprocessing:
    """Selections of labels, each of which is reduced to its largest component, in this order."""

    steps: tuple[Selection, ...] = ()

    def apply(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The label map `(z, y, x)` after all steps, as a new array."""
        for step in self.steps:
            labels = keep_largest_component(labels, step)
        return labels.copy() if not self.steps else labels


@dataclass(frozen=True)
class Trial:
    """One step that was tried: what it did to the mean Dice, and whether it was taken."""

    step: Selection
    before: float
    after: float
    taken: bool


@dataclass(frozen=True)
class Determination:
    """What determining found."""

    postprocessing: Postprocessing
    trials: tuple[Trial, ...]
    before: Summary
    after: Summary
    """Its prediction files are those of the input, also where they would change."""
    problems: tuple[CaseProblem, ...]


@dataclass(frozen=True)
class _PackedCase:
    """A case in memory, its label maps compressed."""

    name: str
    prediction_file: str
    reference_file: str
    prediction: bytes
    reference: bytes


def determine_postprocessing(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    *,
    workers: int | None = None,
    on_case: OnCase | None = None,
) -> Determination:
    """Find out whether removing all but the largest component improves the predictions.

    First all foreground labels are taken together: that step is taken if the mean Dice over
    the labels rises and no label's falls. Then each label (or region) of the task by itself,
    in its order, upon what was taken before: if its own Dice rises. A Dice that is NaN decides
    against a step (nnU-Net's `determine_postprocessing`, which writes and reads every prediction
    for every step; here they are read once and kept compressed in memory).

    Raises
    ------
    EvaluationError
        A folder does not exist, or no case can be evaluated.
    """
    cases, problems = _load(predictions, references, task, workers, on_case)
    if not cases:
        reason = f" {problems[0].reason}" if problems else ""
        raise EvaluationError(f"{os.fspath(predictions)}: no case can be evaluated.{reason}")
    trials = []
    before = current = _score(cases, task, None, workers)[0]
    together = list(task.foreground_labels)
    after, changed = _score(cases, task, together, workers)
    taken = after.foreground_mean["Dice"] > before.foreground_mean["Dice"] and not any(
        after.mean[region]["Dice"] < before.mean[region]["Dice"] for region in task.regions
    )
    trials.append(
        Trial(together, before.foreground_mean["Dice"], after.foreground_mean["Dice"], taken)
    )
    if taken:
        cases, current = changed, after
    for region in task.regions if len(task.regions) > 1 else ():
        after, changed = _score(cases, task, region, workers)
        dice = current.mean[region]["Dice"], after.mean[region]["Dice"]
        taken = dice[1] > dice[0]
        trials.append(Trial(region, *dice, taken))
        if taken:
            cases, current = changed, after
    steps = tuple(trial.step for trial in trials if trial.taken)
    return Determination(Postprocessing(steps), tuple(trials), before, current, problems)


def apply_postprocessing(
    postprocessing: Postprocessing,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    file_ending: str | None = None,
    reader: str | None = None,
    workers: int | None = None,
    on_case: OnCase | None = None,
) -> tuple[CaseProblem, ...]:
    """Apply post-processing to every segmentation in `source`, into the folder `target`.

    Returns the cases that failed; the others are done. No half-written file is left.

    Raises
    ------
    EvaluationError
        There is no such folder, or no segmentation in it, or `target` is the folder itself.
    """
    names = prediction_names(source, file_ending)
    folder = Path(target)
    if folder.resolve() == Path(source).resolve():
        raise EvaluationError(
            f"{folder}: is the input folder itself. Choose another for the output."
        )
    folder.mkdir(parents=True, exist_ok=True)

    def apply(name: str) -> None:
        image = read_label(Path(source) / name, reader)
        labels = postprocessing.apply(image.array[0])
        write_segmentation(labels, folder / name, image.properties)

    return separate(each_case(apply, names, workers=workers, on_case=on_case))[1]


def _load(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    workers: int | None,
    on_case: OnCase | None,
) -> tuple[tuple[_PackedCase, ...], tuple[CaseProblem, ...]]:
    names = prediction_names(predictions, task.file_ending)

    def load(name: str) -> _PackedCase:
        paths = tuple(os.path.join(folder, name) for folder in (predictions, references))  # noqa: PTH118
        prediction, reference = read_pair(paths[0], paths[1], task.reader)
        return _PackedCase(
            name, paths[0], paths[1], _pack(prediction.array[0]), _pack(reference.array[0])
        )

    return separate(each_case(load, names, workers=workers, on_case=on_case))


def _score(
    cases: Sequence[_PackedCase],
    task: EvaluationTask,
    step: Selection | None,
    workers: int | None,
) -> tuple[Summary, tuple[_PackedCase, ...]]:
    """The figures after one more step, and the cases as that step leaves them."""

    def one(case: _PackedCase) -> tuple[CaseFigures, _PackedCase]:
        prediction, reference = _unpack(case.prediction), _unpack(case.reference)
        if step is not None:
            prediction = keep_largest_component(prediction, step)
            case = replace(case, prediction=_pack(prediction))
        counts = count_voxels(prediction, reference, task.regions, task.ignore_label)
        return _figures(case, task, counts), case

    with ThreadPoolExecutor(workers or usable_cpus()) as pool:
        found = list(pool.map(one, cases))
    summary = Summary(tuple(figures for figures, _ in found), task.regions)
    return summary, tuple(case for _, case in found)


def _figures(case: _PackedCase, task: EvaluationTask, counts: Sequence[Counts]) -> CaseFigures:
    metrics = {r: c.to_dict() for r, c in zip(task.regions, counts, strict=True)}
    return CaseFigures(case.prediction_file, case.reference_file, metrics)


def _pack(labels: NDArray[Any]) -> bytes:
    packed: bytes = blosc2.pack_tensor(np.ascontiguousarray(labels))
    return packed


def _unpack(packed: bytes) -> NDArray[Any]:
    labels: NDArray[Any] = np.asarray(blosc2.unpack_tensor(packed))
    return labels
