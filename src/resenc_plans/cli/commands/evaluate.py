"""The command that compares segmentations with references: evaluate."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    EvaluatedDatasetOption,
    Format,
    FormatOption,
    PredictionsArgument,
    WorkersOption,
    output_option,
    parse_labels,
    parse_names,
    reference_option,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import note, print_json, print_table, say
from resenc_plans.evaluation.known_metrics import KNOWN_METRICS
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resenc_plans.evaluation.evaluate import Evaluation
    from resenc_plans.evaluation.summary import Summary
    from resenc_plans.evaluation.surface import SurfaceSummary
    from resenc_plans.evaluation.task import EvaluationTask


def evaluate(
    context: typer.Context,
    predictions: PredictionsArgument,
    references: Annotated[
        Path | None,
        reference_option("Folder of references, with the same file names."),
    ] = None,
    dataset: EvaluatedDatasetOption = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "-l",
            "--labels",
            metavar="LABELS",
            help="Labels such as 1,2,3, instead of those of a dataset.json.",
            show_default=False,
        ),
    ] = None,
    ignore_label: Annotated[
        int | None,
        typer.Option(
            "-il",
            "--ignore-label",
            metavar="LABEL",
            help="With -l: the label of the reference whose voxels are omitted.",
            show_default=False,
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", "--chill", help="Accept references without a prediction."),
    ] = False,
    surface: Annotated[
        bool,
        typer.Option(
            "--surface",
            help="Measure distances between surfaces too, into surface.json (extra monai).",
        ),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="MM", help="Tolerance of the normalised surface Dice, of --surface and NSD."
        ),
    ] = 1.0,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Further metrics, into metrics.json: NSD,HD95,ASSD,clDice,lesion_F1.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for a picture of the distribution per label (.png, .pdf, .svg).",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for a picture of each case: its outlines, dashed for the reference.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --overlay: folder of the images, CASE_0000, to draw on.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = None,
    output: Annotated[
        Path | None,
        output_option("FILE", "File for the summary. Default: summary.json in PREDICTIONS."),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Dice, IoU and voxel counts per case and label, as nnU-Net's summary.json has them.

    summary.json is written into PREDICTIONS, or to the file that -o names. Exit code 1 if a case
    could not be evaluated or has no prediction.
    Example: resenc-plans evaluate predictions -r labelsTs -d 4
    """
    from resenc_plans.errors import UsageError
    from resenc_plans.evaluation.evaluate import evaluate as evaluate_folders

    if context.args:
        raise UsageError(
            "This command takes one folder, the predictions; name the references with -r: evaluate "
            "PREDICTIONS -r REFERENCES. nnU-Net's own order (references first, then predictions) "
            "is the reverse, and would swap false positives and false negatives."
        )
    if references is None:
        raise UsageError("Name the folder of references with -r.")
    evaluation = evaluate_folders(
        predictions, references,
        dataset=dataset, labels=parse_labels(labels), ignore_label=ignore_label, output=output,
        surface=surface, tolerance=tolerance, metrics=parse_names(metrics),
        plot=plot, overlay=overlay, images=images,
        workers=workers, progress=case_progress,
    )  # fmt: skip
    if format is Format.JSON:
        if evaluation.summary is not None:
            print_json(evaluation.summary.to_dict())
    else:
        _print_tables(evaluation)
    for path in evaluation.written:
        (note if format is Format.JSON else say)(f"Wrote {path}.")
    _report_problems(evaluation, partial)


def _print_tables(evaluation: "Evaluation") -> None:
    if evaluation.summary is not None:
        _print_summary(evaluation.summary, evaluation.task)
    if evaluation.surfaces is not None:
        _print_surfaces(evaluation.surfaces, evaluation.task)
    if evaluation.chosen is not None:
        chosen = evaluation.chosen
        means = [chosen.mean(region) for region in evaluation.task.regions]
        rows = [
            (evaluation.task.describe(region), *_figures(mean))
            for region, mean in zip(evaluation.task.regions, means, strict=True)
        ]
        print_table(("label", *_columns(chosen.names, chosen.tolerance)), rows)


def _print_summary(summary: "Summary", task: "EvaluationTask") -> None:
    """A row per label: means over the cases, and the worst case by Dice."""
    rows = []
    for region in summary.regions:
        mean = summary.mean[region]
        scored = [case for case in summary.cases if not math.isnan(case.metrics[region]["Dice"])]
        worst = min(scored, key=lambda case: case.metrics[region]["Dice"], default=None)
        rows.append(
            (
                task.describe(region),
                str(len(scored)),
                *(f"{mean[name]:.4f}" for name in ("Dice", "IoU")),
                *(f"{mean[name]:.0f}" for name in ("TP", "FP", "FN", "n_pred", "n_ref")),
                f"{worst.metrics[region]['Dice']:.4f} {worst.case}" if worst else "",
            )
        )
    total = summary.foreground_mean
    rows.append(
        (
            *("foreground mean", str(len(summary.cases))),
            *(f"{total[name]:.4f}" for name in ("Dice", "IoU")),
            *(f"{total[name]:.0f}" for name in ("TP", "FP", "FN", "n_pred", "n_ref")),
            "",
        )
    )
    columns = ("label", "cases", "Dice", "IoU", "TP", "FP", "FN", "n_pred", "n_ref", "worst case")
    print_table(columns, rows)


def _print_surfaces(surfaces: "SurfaceSummary", task: "EvaluationTask") -> None:
    means = [surfaces.mean(region) for region in task.regions]
    rows = [
        (task.describe(region), *_figures(mean), str(surfaces.undefined(region)))
        for region, mean in zip(task.regions, means, strict=True)
    ]
    print_table(("label", *_columns(means[0], surfaces.tolerance), "undefined"), rows)


def _columns(metrics: "Iterable[str]", tolerance: float) -> "Iterator[str]":
    """The names of metrics with their units."""
    for name in metrics:
        unit = KNOWN_METRICS[name].unit
        yield f"NSD at {tolerance:g} mm" if name == "NSD" else f"{name} [{unit}]" if unit else name


def _figures(means: "Mapping[str, float]") -> "Iterator[str]":
    for name, value in means.items():
        yield f"{value:.{4 if KNOWN_METRICS[name].is_share else 2}f}"


def _report_problems(evaluation: "Evaluation", partial: bool) -> None:
    """Name what failed; exit code 1 for cases without figures."""
    from resenc_plans.execution.cases import together

    for problem in together(evaluation.not_drawn):
        note(f"{problem.case}: is not drawn. {problem.reason}")
    for problem in together(evaluation.problems):
        note(f"{problem.case}: not evaluated. {problem.reason}", style="red")
    if evaluation.summary is None:
        note("No case could be evaluated, so no summary was written.", style="red")
    if evaluation.missing:
        names = ", ".join(evaluation.missing[:5]) + (" …" if evaluation.missing[5:] else "")
        lack = ("of the references has", "of the references have")
        note(f"{counted(len(evaluation.missing), *lack)} no prediction: {names}")
    if evaluation.problems or (evaluation.missing and not partial):
        raise typer.Exit(ExitCode.FAILED)
