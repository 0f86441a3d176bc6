"""The tables of a comparison as rows of text, for the terminal, Markdown and the page."""

from dataclasses import dataclass

from resenc_plans.reprs import rounded
from resenc_plans.study.comparison import (
    ALL_LABELS,
    Comparison,
    DatasetComparison,
    MethodScore,
    MetricComparison,
)
from resenc_plans.study.statistics.bootstrap import Interval
from resenc_plans.words import counted

TITLE = "Comparison of methods"
"""Of a report that has no other."""


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of a report beside the comparison itself: paragraphs, then tables."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def tables_of(dataset: DatasetComparison, metric: MetricComparison) -> tuple[Table, ...]:
    """The methods over all labels, the pairs, and the methods label by label."""
    title = short_title(metric)
    labels = tuple(dict.fromkeys(one.label for one in metric.methods))[1:]
    own = Table(
        f"{metric_title(metric)}, mean over labels",
        ("method", "cases", "mean", "interval", "median", "rank", "ranks", "P(first)"),
        tuple(
            (
                score.method,
                str(score.cases),
                number(metric, score.mean),
                interval(metric, score.interval),
                number(metric, score.median),
                f"{score.rank.rank:g}",
                f"{score.rank.interval.low:g}-{score.rank.interval.high:g}",
                f"{score.rank.probabilities[0]:.2f}",
            )
            for score in metric.of_label()
        ),
    )
    if not labels[1:]:
        return own, pairs_table(metric, ALL_LABELS, f"{title}, differences")
    return (
        own,
        pairs_table(metric, ALL_LABELS, f"{title}, differences of the means over labels"),
        Table(
            f"{title} by label, mean and interval",
            ("method", *(dataset.label_title(label) for label in labels)),
            tuple(
                (
                    method,
                    *(
                        _with_interval(metric, score)
                        for score in metric.methods
                        if score.method == method and score.label != ALL_LABELS
                    ),
                )
                for method in dataset.methods
            ),
        ),
    )


def label_pairs(dataset: DatasetComparison, metric: MetricComparison) -> tuple[Table, ...]:
    """The pairs label by label; nothing where there is one label."""
    labels = tuple(dict.fromkeys(one.label for one in metric.methods))[1:]
    return tuple(
        pairs_table(
            metric, label, f"{short_title(metric)} of {dataset.label_title(label)}, differences"
        )
        for label in labels
        if labels[1:]
    )


def pairs_table(metric: MetricComparison, label: str, title: str) -> Table:
    """The pairs for one label; with a margin, what they come to."""
    pairs = metric.pairs_of(label)
    has_verdicts = pairs[0].verdict is not None
    columns = ("pair", "difference", "interval", "p", "p (Holm)", "wins/ties/losses", "detectable")
    return Table(
        title,
        (*columns, "first is") if has_verdicts else columns,
        tuple(
            (
                f"{pair.first} - {pair.second}",
                number(metric, pair.difference, "+"),
                interval(metric, pair.interval, "+"),
                p_value(pair.p),
                p_value(pair.p_holm),
                f"{pair.wins}/{pair.ties}/{pair.losses}",
                number(metric, pair.detectable),
                *((pair.verdict,) if pair.verdict else ()),
            )
            for pair in pairs
        ),
    )


def rank_table(comparison: Comparison) -> Table:
    """Mean ranks over datasets."""
    return Table(
        f"Mean rank over {counted(len(comparison.datasets), 'dataset')}",
        ("metric", "method", "rank", "interval"),
        tuple(
            (
                one.metric,
                one.method,
                f"{one.rank:.2f}",
                f"{one.interval.low:.2f} to {one.interval.high:.2f}",
            )
            for one in comparison.mean_ranks
        ),
    )


def budget_table(dataset: DatasetComparison) -> Table:
    """What the methods' trainings take, as far as it is known."""
    return Table(
        "Budgets",
        ("method", "hours", "GB", "according to"),
        tuple(
            (
                name,
                "-" if budget.hours is None else rounded(budget.hours),
                "-" if budget.gigabytes is None else rounded(budget.gigabytes),
                budget.source,
            )
            for name, budget in dataset.budgets.items()
        ),
    )


def metric_title(metric: MetricComparison) -> str:
    """The metric in words, with its short name, where that is another, and its unit."""
    title, short = metric.metric.title, short_title(metric)
    return short if title == metric.metric.key else f"{title}, {short}"


def short_title(metric: MetricComparison) -> str:
    """The short name of the metric, with its unit."""
    unit = metric.metric.unit
    return f"{metric.metric.key} [{unit}]" if unit else metric.metric.key


def number(metric: MetricComparison, value: float, sign: str = "") -> str:
    """A figure of a metric, with a dash for none."""
    digits = 4 if metric.metric.is_share else 2
    return "-" if value != value else f"{value:{sign}.{digits}f}"


def _with_interval(metric: MetricComparison, score: MethodScore) -> str:
    ends = interval(metric, score.interval)
    return number(metric, score.mean) + ("" if ends == "-" else f" ({ends})")


def interval(metric: MetricComparison, ends: Interval, sign: str = "") -> str:
    """An interval of figures of a metric."""
    low, high = (number(metric, end, sign) for end in (ends.low, ends.high))
    return "-" if low == high == "-" else f"{low} to {high}"


def p_value(value: float) -> str:
    """Four digits; a dash where methods differ in no case."""
    return "-" if value != value else f"{value:.4f}" if value >= 0.0001 else "<0.0001"
