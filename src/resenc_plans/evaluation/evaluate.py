"""Compare a folder of segmentations with a folder of references, case by case."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from resenc_plans.errors import UsageError
from resenc_plans.evaluation.chosen_metrics import (
    METRICS_JSON,
    ChosenMetrics,
    check_chosen_metrics,
    measure_chosen,
)
from resenc_plans.evaluation.metrics import metrics_by_region
from resenc_plans.evaluation.summary import CaseMetrics, Summary
from resenc_plans.evaluation.surface import (
    SURFACE_JSON,
    SurfaceSummary,
    check_surface_options,
    measure_folder,
)
from resenc_plans.evaluation.task import (
    EvaluationTask,
    find_task,
    prediction_names,
    read_pair,
    segmentation_names,
)
from resenc_plans.execution.cases import CaseProblem, Progress, each_case, no_progress, separate
from resenc_plans.folders import SUMMARY_JSON
from resenc_plans.reprs import card, listed
from resenc_plans.words import counted


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a folder."""

    task: EvaluationTask
    summary: Summary | None
    """The metrics of the cases that could be evaluated; None if there is none."""
    problems: tuple[CaseProblem, ...]
    """The cases that could not be evaluated, by file name."""
    missing: tuple[str, ...]
    """File names of references that have no prediction; nnU-Net ignores them or refuses."""
    surfaces: SurfaceSummary | None = None
    """Distances between surfaces, if they were measured."""
    chosen: ChosenMetrics | None = None
    """The metrics that were chosen beside those of the summary."""
    not_drawn: tuple[CaseProblem, ...] = ()
    """Cases whose overlay could not be drawn."""
    written: tuple[Path, ...] = ()
    """The files and folders that were written."""

    def __repr__(self) -> str:
        summary = self.summary
        dice = summary and f"{summary.foreground_mean['Dice']:.4f}"
        return card(
            f"Evaluation of {counted(len(summary.cases) if summary else 0, 'case')}",
            {
                "mean Dice": dice,
                "labels": listed(self.task.label_names.get(r, r) for r in self.task.regions),
                "problems": listed(problem.case for problem in self.problems),
                "not predicted": listed(self.missing),
                "not drawn": listed(problem.case for problem in self.not_drawn),
                "written": listed(self.written),
            },
        )


def evaluate(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    *,
    dataset: int | str | os.PathLike[str] | None = None,
    labels: Sequence[int] = (),
    ignore_label: int | None = None,
    output: str | os.PathLike[str] | None = None,
    surface: bool = False,
    tolerance: float = 1.0,
    metrics: Sequence[str] = (),
    plot: str | os.PathLike[str] | None = None,
    overlay: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Compare every segmentation with the reference of the same file name; write summary.json.

    The results are those of nnU-Net's `compute_metrics_on_folder`, which takes the references
    first. Cases that fail are among the result's problems; the others are evaluated.

    Parameters
    ----------
    predictions
        A folder of segmentations.
    references
        A folder of references with the same file names.
    dataset
        The dataset whose labels count: its dataset.json, or its path, name or id. By default the
        dataset.json in `predictions` or beside `references`.
    labels
        Label values to evaluate, instead of those of a dataset.
    ignore_label
        With `labels`: voxels of the reference to omit.
    output
        The file to write instead of summary.json in `predictions`.
    surface
        Whether to measure distances between surfaces as well, into surface.json beside the summary
        (extra `monai`).
    tolerance
        The tolerance of the normalised surface Dice, in mm.
    metrics
        Names of further metrics, into metrics.json beside the summary: NSD, HD95, ASSD (extra
        `monai`), clDice, lesion_F1.
    plot
        A picture (.png, .pdf, .svg) of the distribution of Dice and sizes, to be written.
    overlay
        A folder for a picture of each case: the outlines over the image, the reference's dashed.
    images
        With `overlay`: the folder of the images, CASE_0000 with the segmentations' file ending.
    workers
        Threads to use; by default one per usable CPU.
    executor
        What evaluates the cases instead of threads, such as a Dask cluster.
    progress
        Shows how far each step is, see `resenc_plans.execution.cases.Progress`.

    Raises
    ------
    UsageError
        Arguments contradict each other.
    EvaluationError
        A folder does not exist or is empty, no dataset.json is found, or MONAI is not installed.
    DatasetError
        The dataset does not exist, or its dataset.json cannot be used.
    FileError
        A result cannot be written.
    """
    if (overlay is None) != (images is None):
        raise UsageError("`overlay=` needs `images=`, the folder of the images, and vice versa.")
    if surface:
        check_surface_options(tolerance)
    further = check_chosen_metrics(metrics, tolerance)
    task = find_task(
        predictions, references, dataset=dataset, labels=labels, ignore_label=ignore_label
    )
    names = prediction_names(predictions, task.file_ending)
    with progress("Evaluating", len(names)) as on_case:
        evaluation = compare_folders(
            predictions, references, task, workers=workers, executor=executor, on_case=on_case
        )
    if evaluation.summary is None:
        return evaluation
    summary_file = Path(predictions) / SUMMARY_JSON if output is None else Path(output)
    evaluation.summary.save(summary_file)
    written = [summary_file]
    surfaces: SurfaceSummary | None = None
    not_drawn: tuple[CaseProblem, ...] = ()
    if surface:
        with progress("Measuring surfaces", len(names)) as on_case:
            surfaces = measure_folder(
                predictions, references, task, tolerance=tolerance, on_case=on_case
            )
        written.append(summary_file.parent / SURFACE_JSON)
        surfaces.save(written[-1], evaluation.summary)
    chosen: ChosenMetrics | None = None
    if further:
        with progress("Measuring", len(names)) as on_case:
            chosen = measure_chosen(
                predictions, references, task, further, tolerance=tolerance, on_case=on_case
            )
        written.append(summary_file.parent / METRICS_JSON)
        chosen.save(written[-1], evaluation.summary)
    if plot is not None:
        _draw_distribution(evaluation.summary, task, plot)
        written.append(Path(plot))
    if overlay is not None and images is not None:
        from resenc_plans.visualization.overlay import draw_overlays

        with progress("Drawing", len(evaluation.summary.cases)) as on_case:
            not_drawn = draw_overlays(
                [case.prediction_file for case in evaluation.summary.cases], images, overlay,
                references=references, reader=task.reader, names=task.value_names,
                on_case=on_case,
            )  # fmt: skip
        written.append(Path(overlay))
    return replace(
        evaluation, surfaces=surfaces, chosen=chosen, not_drawn=not_drawn, written=tuple(written)
    )


def compare_folders(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    *,
    names: Collection[str] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    on_case: Callable[[str], object] | None = None,
) -> Evaluation:
    """Compare the segmentations in two folders, and write nothing.

    Parameters
    ----------
    predictions, references
        Folders of segmentations with the same file names.
    task
        What to evaluate.
    names
        File names of the cases to evaluate; one without a prediction is then a problem. By default
        all predictions.
    workers, executor
        Threads to use, or what does the work instead.
    on_case
        Called with the file name of each finished case.

    Raises
    ------
    EvaluationError
        One of the folders does not exist, or there is nothing to evaluate.
    """
    reference_names = set(segmentation_names(references, task.file_ending))
    if names is None:
        names = prediction_names(predictions, task.file_ending)
    else:
        names = sorted(names)
        reference_names.intersection_update(names)
    results = each_case(
        partial(evaluate_case, os.fspath(predictions), os.fspath(references), task),
        names, workers=workers, executor=executor, on_case=on_case,
    )  # fmt: skip
    cases, problems = separate(results)
    missing = tuple(sorted(reference_names.difference(names)))
    return Evaluation(task, Summary(cases, task.regions) if cases else None, problems, missing)


def evaluate_case(
    predictions: str, references: str, task: EvaluationTask, name: str
) -> CaseMetrics:
    """The metrics of one case, by its file name in the two folders.

    Raises
    ------
    DatasetError
        A file is unreadable.
    EvaluationError
        There is no reference, or the two differ in shape or spacing.
    """
    paths = os.path.join(predictions, name), os.path.join(references, name)  # noqa: PTH118
    prediction, reference = read_pair(*paths, task.reader)
    metrics = metrics_by_region(prediction.array, reference.array, task.regions, task.ignore_label)
    return CaseMetrics(*paths, metrics)


def _draw_distribution(
    summary: Summary, task: EvaluationTask, path: str | os.PathLike[str]
) -> None:
    from resenc_plans.visualization.distributions import LabelDistribution, draw_distributions

    labels = [
        LabelDistribution(
            region,
            task.label_names.get(region),
            [(case.case, case.metrics[region]["Dice"]) for case in summary.cases],
            [case.metrics[region]["n_pred"] for case in summary.cases],
            [case.metrics[region]["n_ref"] for case in summary.cases],
        )
        for region in summary.regions
    ]
    draw_distributions(labels, path, mean_dice=summary.foreground_mean["Dice"])
