"""Keep only the largest components of segmentations where that helps: determine it, apply it."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import blosc2
import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.images.images import read_label
from resenc_plans.datasets.images.segmentation_files import remove_old_summary, write_segmentation
from resenc_plans.errors import EvaluationError, expect_type
from resenc_plans.evaluation.metrics import metrics_by_region
from resenc_plans.evaluation.postprocessing.components import keep_largest_component
from resenc_plans.evaluation.summary import CaseMetrics, Summary
from resenc_plans.evaluation.task import EvaluationTask, find_task, prediction_names, read_pair
from resenc_plans.execution.cases import CaseProblem, Progress, each_case, no_progress, separate
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.files import inside, make_folder, replace_file, write_json, writing
from resenc_plans.folders import POSTPROCESSING_JSON, POSTPROCESSING_PKL, SUMMARY_JSON
from resenc_plans.reprs import call, card, listed
from resenc_plans.runs.postprocessing_files import (
    LabelGroup,
    json_of_steps,
    pickle_of_steps,
    read_steps,
)

logger = logging.getLogger(__name__)

POSTPROCESSED = "postprocessed"
"""The folder for the results, in the folder of predictions."""


@dataclass(frozen=True)
class Postprocessing:
    """Groups of labels, each of which is reduced to its largest component, in this order."""

    steps: tuple[LabelGroup, ...] = ()

    def __repr__(self) -> str:
        return call("Postprocessing", {"steps": self.steps})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read postprocessing.json, or a postprocessing.pkl of nnU-Net.

        Raises
        ------
        FileError
            The file cannot be read, is neither of the two, or names another function.
        """
        return cls(read_steps(path))

    def apply(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The label map `(z, y, x)` after all steps, as a new array."""
        for step in self.steps:
            labels = keep_largest_component(labels, step)
        return labels.copy() if not self.steps else labels


@dataclass(frozen=True)
class Trial:
    """One step that was tried, and whether it was accepted."""

    step: LabelGroup
    before: float
    """The Dice that decides about the step, without it."""
    after: float
    """The same Dice with the step."""
    accepted: bool


@dataclass(frozen=True, kw_only=True)
class Determination:
    """The post-processing that suits a folder of predictions, and the trials that led to it."""

    task: EvaluationTask
    postprocessing: Postprocessing
    trials: tuple[Trial, ...]
    before: Summary
    """The metrics without post-processing."""
    after: Summary
    """The metrics with it; the prediction files are nevertheless those of the input."""
    problems: tuple[CaseProblem, ...]
    """Cases that could not be evaluated or post-processed, by file name."""
    written: tuple[Path, ...] = ()
    """The file of steps and the folder of results, after `postprocess`."""

    def __repr__(self) -> str:
        before, after = (one.foreground_mean["Dice"] for one in (self.before, self.after))
        return card(
            "Determination of post-processing",
            {
                "largest components of": listed(self.postprocessing.steps) or "nothing",
                "mean Dice": f"{before:.4f} before, {after:.4f} after",
                "trials": len(self.trials),
                "problems": listed(problem.case for problem in self.problems),
                "written": listed(self.written),
            },
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write postprocessing.json, and postprocessing.pkl for nnU-Net's command, into `folder`.

        Raises
        ------
        FileError
            A file cannot be written.
        """
        steps = self.postprocessing.steps
        document = {
            "input_folder": self.before.means(),
            "postprocessed": self.after.means(),
            **json_of_steps(steps),
        }
        write_json(Path(folder) / POSTPROCESSING_JSON, document)
        with replace_file(Path(folder) / POSTPROCESSING_PKL) as stream:
            stream.write(pickle_of_steps(steps))


def postprocess(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    *,
    dataset: int | str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Determination:
    """Determine the post-processing that improves predictions, store it, and apply it to them.

    postprocessing.json and postprocessing.pkl are written into `predictions`, the results with
    their summary.json into `output`.

    Parameters
    ----------
    predictions
        A folder of segmentations, such as those of a cross-validation.
    references
        A folder of references with the same file names.
    dataset
        The dataset whose labels count, see `find_task`.
    output
        The folder for the results; by default `postprocessed` in `predictions`.
    workers
        Threads to use; by default one per usable CPU.
    progress
        Shows how far each step is, see `resenc_plans.execution.cases.Progress`.

    Raises
    ------
    EvaluationError
        A folder does not exist, no dataset.json is found, no case can be evaluated, or `output` is
        the input folder.
    DatasetError
        The dataset does not exist, or its dataset.json cannot be used.
    FileError
        A result cannot be written.
    """
    folder = Path(predictions)
    target = inside(folder, folder / POSTPROCESSED) if output is None else Path(output)
    _check_target(target, predictions)
    task = find_task(predictions, references, dataset=dataset)
    with progress("Reading", len(prediction_names(predictions, task.file_ending))) as on_case:
        determination = determine_postprocessing(
            predictions, references, task, workers=workers, on_case=on_case
        )
    determination.save(predictions)
    summary = target / SUMMARY_JSON
    with writing(summary):
        summary.unlink(missing_ok=True)  # that of an earlier call
    problems = {problem.case: problem for problem in determination.problems}
    for problem in apply_postprocessing(
        determination.postprocessing, predictions, target,
        file_ending=task.file_ending, reader=task.reader, workers=workers,
    ):  # fmt: skip
        problems[problem.case] = problem
    determination.after.moved_to(target).save(summary)
    written = Path(predictions) / POSTPROCESSING_JSON, target
    return replace(determination, problems=tuple(problems.values()), written=written)


def determine_postprocessing(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    *,
    workers: int | None = None,
    on_case: Callable[[str], object] | None = None,
) -> Determination:
    """Determine whether removing all but the largest component improves the predictions.

    First all foreground labels are taken together: that step is accepted if the mean Dice over the
    labels rises and no label's falls. Then each label (or region) is tried by itself, in the task's
    order, on the result of the steps accepted before: its own Dice must rise. A Dice that is NaN
    decides against a step (nnU-Net's `determine_postprocessing`, which writes and reads every
    prediction for every step; here they are read once and kept compressed in memory).

    Parameters
    ----------
    predictions, references
        Folders of segmentations with the same file names.
    task
        The labels or regions that count.
    workers
        Threads to use; by default one per usable CPU.
    on_case
        Called with the file name of each case that has been read.

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
    accepted = after.foreground_mean["Dice"] > before.foreground_mean["Dice"] and not any(
        after.mean[region]["Dice"] < before.mean[region]["Dice"] for region in task.regions
    )
    trials.append(
        Trial(together, before.foreground_mean["Dice"], after.foreground_mean["Dice"], accepted)
    )
    if accepted:
        cases, current = changed, after
    for region in task.regions if len(task.regions) > 1 else ():
        after, changed = _score(cases, task, region, workers)
        dice = current.mean[region]["Dice"], after.mean[region]["Dice"]
        accepted = dice[1] > dice[0]
        trials.append(Trial(region, *dice, accepted))
        if accepted:
            cases, current = changed, after
    steps = tuple(trial.step for trial in trials if trial.accepted)
    return Determination(
        task=task, postprocessing=Postprocessing(steps), trials=tuple(trials),
        before=before, after=current, problems=problems,
    )  # fmt: skip


def apply_postprocessing(
    postprocessing: Postprocessing,
    predictions: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    file_ending: str | None = None,
    reader: str | None = None,
    workers: int | None = None,
    on_case: Callable[[str], object] | None = None,
) -> tuple[CaseProblem, ...]:
    """Apply post-processing to every segmentation in a folder.

    Parameters
    ----------
    postprocessing
        The steps, such as `Postprocessing.load("postprocessing.json")`.
    predictions
        The folder of segmentations.
    output
        The folder for the results; it is made if it does not exist.
    file_ending
        Ending of the files; by default any that a reader knows.
    reader
        nnU-Net's reader for the files; by default the file ending decides.
    workers
        Threads to use; by default one per usable CPU.
    on_case
        Called with the file name of each finished case.

    Returns
    -------
    The cases that failed; the others are done. A case that failed leaves no file.

    Raises
    ------
    EvaluationError
        The folder does not exist or has no segmentation, or `output` is the folder itself.
    """
    expect_type(postprocessing, Postprocessing, "postprocessing", "Postprocessing.load(path)")
    names = prediction_names(predictions, file_ending)
    folder = Path(output)
    _check_target(folder, predictions)
    make_folder(folder)
    about_summary = remove_old_summary(folder, [folder / name for name in names])
    if about_summary is not None:
        logger.warning("%s", about_summary)

    def apply(name: str) -> None:
        image = read_label(Path(predictions) / name, reader)
        labels = postprocessing.apply(image.array[0])
        write_segmentation(labels, folder / name, image.properties)

    return separate(each_case(apply, names, workers=workers, on_case=on_case))[1]


@dataclass(frozen=True)
class _PackedCase:
    """A case in memory, its label maps compressed."""

    prediction_file: str
    reference_file: str
    prediction: bytes
    reference: bytes


def _check_target(target: Path, predictions: str | os.PathLike[str]) -> None:
    if target.resolve() == Path(predictions).resolve():
        raise EvaluationError(
            f"{target}: is the input folder itself. Choose another for the output."
        )


def _load(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    workers: int | None,
    on_case: Callable[[str], object] | None,
) -> tuple[tuple[_PackedCase, ...], tuple[CaseProblem, ...]]:
    def load(name: str) -> _PackedCase:
        prediction_file = os.path.join(predictions, name)  # noqa: PTH118
        reference_file = os.path.join(references, name)  # noqa: PTH118
        pair = read_pair(prediction_file, reference_file, task.reader)
        return _PackedCase(prediction_file, reference_file, *(_pack(i.array[0]) for i in pair))

    names = prediction_names(predictions, task.file_ending)
    return separate(each_case(load, names, workers=workers, on_case=on_case))


def _score(
    cases: Sequence[_PackedCase],
    task: EvaluationTask,
    step: LabelGroup | None,
    workers: int | None,
) -> tuple[Summary, tuple[_PackedCase, ...]]:
    """The metrics after one more step, and the cases as that step leaves them."""

    def score(case: _PackedCase) -> tuple[CaseMetrics, _PackedCase]:
        prediction, reference = _unpack(case.prediction), _unpack(case.reference)
        if step is not None:
            prediction = keep_largest_component(prediction, step)
            case = replace(case, prediction=_pack(prediction))
        metrics = metrics_by_region(prediction, reference, task.regions, task.ignore_label)
        return CaseMetrics(case.prediction_file, case.reference_file, metrics), case

    with ThreadPoolExecutor(workers or usable_cpus()) as pool:
        scores = list(pool.map(score, cases))
    summary = Summary(tuple(metrics for metrics, _ in scores), task.regions)
    return summary, tuple(case for _, case in scores)


def _pack(labels: NDArray[Any]) -> bytes:
    packed: bytes = blosc2.pack_tensor(np.ascontiguousarray(labels))
    return packed


def _unpack(packed: bytes) -> NDArray[Any]:
    labels: NDArray[Any] = np.asarray(blosc2.unpack_tensor(packed))
    return labels
