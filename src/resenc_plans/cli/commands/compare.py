"""The command that compares methods: compare."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    FoldsOption,
    Format,
    FormatOption,
    OverwriteOption,
    output_option,
    parse_folds,
    parse_names,
    reference_option,
)
from resenc_plans.cli.render import SEVERITY_STYLES, note, print_json, print_table, say
from resenc_plans.errors import UsageError

if TYPE_CHECKING:
    from resenc_plans.study.comparison import Comparison
    from resenc_plans.study.report.tables import Table


class _Missing(StrEnum):
    OMIT = "omit"
    WORST = "worst"


class _Undefined(StrEnum):
    OMIT = "omit"
    PERFECT = "perfect"


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT",
            help="A summary.json, or a folder: of a model, a fold, or predictions. NAME=PATH names "
            "it.",
            show_default=False,
        ),
    ],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Metrics such as Dice,HD95. Default: all that every result has.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        reference_option("Folder of references, for predictions without summary.json."),
    ] = None,
    folds: FoldsOption = None,
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PATTERN",
            help="The patient of each case: CSV (case,patient), JSON, or a regular expression "
            "whose first group is the patient. Default: each case is a patient.",
            show_default=False,
        ),
    ] = None,
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="NAME=HOURS,GB",
            help="What the training of a method takes, such as mine=68h,17.3GB. Repeatable. "
            "Default: as its folds recorded it.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="SIZE",
            help="Differences of Dice and other shares up to here do not matter: say which "
            "methods are equivalent.",
            show_default=False,
        ),
    ] = None,
    tie: Annotated[
        float | None,
        typer.Option(
            metavar="SIZE",
            help="Differences of a case up to here are ties, of Dice and other shares. "
            "Default: 0.01. Distances have 0.5 mm.",
            show_default=False,
        ),
    ] = None,
    missing: Annotated[
        _Missing,
        typer.Option(
            metavar="omit|worst",
            help="Cases that a method lacks: leave them out of all methods, or count them as 0.",
        ),
    ] = _Missing.OMIT,
    undefined: Annotated[
        _Undefined,
        typer.Option(
            metavar="omit|perfect",
            help="Scores of labels that neither segmentation has: leave them out, or count them "
            "as 1.",
        ),
    ] = _Undefined.OMIT,
    level: Annotated[
        float, typer.Option(metavar="SHARE", help="Confidence level of the intervals.")
    ] = 0.95,
    draws: Annotated[
        int, typer.Option(metavar="N", help="Number of draws of the bootstrap.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the draws.")] = 12345,
    output: Annotated[
        Path | None,
        output_option(
            "FOLDER",
            "Folder for the report: report.html, report.md, table.tex, cases.csv, results.json.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With -o: folder of the images, CASE_0000, to draw the worst cases on.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Say which method is better, by how much, and how sure that is.

    Means with bootstrap intervals, paired differences with Wilcoxon's test (Holm), and ranks.
    Example: resenc-plans compare results/Dataset004_Hippocampus/nnUNetTrainer__*__3d_fullres
    """
    from resenc_plans.study.compare import compare as compare_methods

    comparison = compare_methods(
        *results,
        metrics=parse_names(metrics),
        references=references, folds=parse_folds(folds), patients=patients,
        margin=margin, tie=tie, missing=missing.value, undefined=undefined.value,
        level=level, draws=draws, seed=seed,
        budgets=_budgets(budgets), output=output, images=images, overwrite=overwrite,
    )  # fmt: skip
    if format is Format.JSON:
        print_json(comparison.to_dict())
    else:
        _print_tables(comparison)
    for problem in comparison.not_drawn:
        note(f"{problem.case}: is not drawn. {problem.reason}")
    for path in comparison.written:
        (note if format is Format.JSON else say)(f"Wrote {path}.")
    for dataset in comparison.datasets:
        place = f"{dataset.dataset}: " if comparison.datasets[1:] else ""
        for finding in dataset.findings:
            text = f"{finding.rule} {place}{finding.sentence}"
            note(text, style=SEVERITY_STYLES[finding.severity])


def _print_tables(comparison: "Comparison") -> None:
    """By all metrics, without IoU, which orders cases as Dice does."""
    from resenc_plans.study.report.tables import budget_table, rank_table, tables_of

    for dataset in comparison.datasets:
        if comparison.datasets[1:]:
            say(dataset.dataset, style="bold")
        for metric in dataset.metrics:
            if metric.metric.key != "IoU" or len(dataset.metrics) == 1:
                for table in tables_of(dataset, metric):
                    _print(table)
        if dataset.budgets:
            _print(budget_table(dataset))
    if comparison.mean_ranks:
        _print(rank_table(comparison))


def _print(table: "Table") -> None:
    columns = table.columns
    print_table(columns, table.rows, title=table.title, fixed=len(columns), names=1)


def _budgets(texts: list[str] | None) -> dict[str, str]:
    """The budgets of `--budget NAME=35h,22.7GB`."""
    pairs = [text.rpartition("=") for text in texts or ()]
    bad = next((pair for pair in pairs if not pair[0]), None)
    if bad is not None:
        raise UsageError(
            f"--budget {bad[2]!r}: a method's name and its budget are needed, such as "
            "mine=35h,22.7GB."
        )
    budgets = {name: budget for name, _, budget in pairs}
    if len(budgets) < len(pairs):
        raise UsageError("--budget names a method twice. Give the budget of each once.")
    return budgets
