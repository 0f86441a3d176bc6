"""The command that compares methods: compare."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import FoldsOption, Format, FormatOption, parse_folds
from resenc_plans.cli.render import note, print_json, print_table, say

if TYPE_CHECKING:
    from resenc_plans.study.comparison import Comparison, DatasetComparison, MetricComparison

_STYLES = {"error": "red", "warning": "yellow", "note": ""}


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
            metavar="RESULT...",
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
        typer.Option(
            "-r",
            "--reference",
            metavar="REFERENCES",
            help="Folder of references, for predictions without summary.json.",
            show_default=False,
        ),
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
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="SIZE",
            help="Differences up to here do not matter: say which methods are equivalent.",
            show_default=False,
        ),
    ] = None,
    tie: Annotated[
        float | None,
        typer.Option(
            metavar="SIZE",
            help="Differences of a case up to here are ties. Default: 0.01; 0.5 mm for distances.",
            show_default=False,
        ),
    ] = None,
    missing: Annotated[
        _Missing,
        typer.Option(
            help="Cases that a method lacks: leave them out of all methods, or count them as 0.",
        ),
    ] = _Missing.OMIT,
    undefined: Annotated[
        _Undefined,
        typer.Option(
            help="Scores of labels that neither segmentation has: leave them out, or count them "
            "as 1.",
        ),
    ] = _Undefined.OMIT,
    level: Annotated[float, typer.Option(help="Of intervals.")] = 0.95,
    draws: Annotated[int, typer.Option(help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 12345,
    format: FormatOption = Format.TABLE,
) -> None:
    """Say which method is better, by how much, and how sure that is.

    Means with bootstrap intervals, paired differences with Wilcoxon's test (Holm), and ranks.
    Example: resenc-plans compare results/Dataset004_Hippocampus/nnUNetTrainer__*__3d_fullres
    """
    from resenc_plans.study.compare import compare as compare_methods

    comparison = compare_methods(
        *results,
        metrics=[name for text in metrics or () for name in text.replace(",", " ").split()],
        references=references, folds=parse_folds(folds), patients=patients,
        margin=margin, tie=tie, missing=missing.value, undefined=undefined.value,
        level=level, draws=draws, seed=seed,
    )  # fmt: skip
    if format is Format.JSON:
        print_json(comparison.to_dict())
    else:
        _print_tables(comparison)
    for dataset in comparison.datasets:
        for finding in dataset.findings:
            note(f"{finding.rule} {finding.message}.", style=_STYLES[finding.severity])


def _print_tables(comparison: "Comparison") -> None:
    for dataset in comparison.datasets:
        if comparison.datasets[1:]:
            say(dataset.dataset, style="bold")
        for metric in dataset.metrics:
            if metric.metric.key != "IoU":
                _print_metric(dataset, metric)
    if comparison.mean_ranks:
        rows = [
            (one.metric, one.method, f"{one.rank:.2f}", _interval(one.interval, 2))
            for one in comparison.mean_ranks
        ]
        title = f"Mean rank over {len(comparison.datasets)} datasets"
        print_table(("metric", "method", "rank", "interval"), rows, title=title)


def _print_metric(dataset: "DatasetComparison", metric: "MetricComparison") -> None:
    digits = 4 if metric.metric.is_share else 2
    title = f"{metric.metric.title}{f' [{metric.metric.unit}]' if metric.metric.unit else ''}"
    labels = list(dict.fromkeys(one.label for one in metric.methods))
    rows = []
    for number, score in enumerate(metric.of_label()):
        rows.append(
            (
                score.method,
                str(score.cases),
                f"{score.mean:.{digits}f}",
                _interval(score.bca, digits),
                f"{score.median:.{digits}f}",
                f"{score.rank.rank:g}",
                f"{score.rank.interval.low:g}-{score.rank.interval.high:g}",
                f"{score.rank.probabilities[0]:.2f}",
                *(f"{metric.of_label(label)[number].mean:.{digits}f}" for label in labels[1:]),
            )
        )
    names = [dataset.label_title(label) for label in labels[1:]]
    columns = ("method", "cases", "mean", "interval", "median", "rank", "ranks", "P(first)")
    print_table((*columns, *names), rows, title=f"{title}, mean over labels, then each label")
    pairs = [
        (
            f"{pair.first} - {pair.second}",
            f"{pair.difference:+.{digits}f}",
            _interval(pair.bca, digits, "+"),
            _p(pair.p),
            _p(pair.p_holm),
            f"{pair.wins}/{pair.ties}/{pair.losses}",
            f"{pair.detectable:.{digits}f}",
            *([pair.verdict] if pair.verdict else []),
        )
        for pair in metric.pairs_of()
    ]
    headings = ("pair", "difference", "interval", "p", "p (Holm)", "wins/ties/losses", "detectable")
    verdicts = ("first is",) if metric.pairs_of()[0].verdict else ()
    print_table((*headings, *verdicts), pairs)


def _interval(interval: Any, digits: int, sign: str = "") -> str:
    return f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"


def _p(value: float) -> str:
    return "-" if value != value else f"{value:.4f}" if value >= 0.0001 else "<0.0001"
