"""What a comparison of methods finds, as types: scores, pairs, ranks."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from resenc_plans.datasets.finding import Finding, Severity
from resenc_plans.datasets.labels import Region
from resenc_plans.evaluation.known_metrics import Metric
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.files import finite
from resenc_plans.reprs import card, listed
from resenc_plans.study.budgets import Budget
from resenc_plans.study.results import MethodResult
from resenc_plans.study.scores import Missing, Scores, Undefined
from resenc_plans.study.statistics.bootstrap import Interval
from resenc_plans.study.statistics.ranks import Rank
from resenc_plans.words import counted

ALL_LABELS = "all"
"""In place of a label: the mean over the labels of a case."""

Verdict = Literal["superior", "equivalent", "not inferior", "inferior", "open"]
"""Of the first of a pair, by the interval of the difference and the margin."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How methods are compared."""

    draws: int = 10_000
    level: float = 0.95
    """Of intervals; tests find what is below 1 minus this."""
    seed: int = 12345
    tie: float | None = None
    """Differences of a case up to here count as ties, of shares such as Dice; None for 0.01."""
    margin: float | None = None
    """Differences of means up to here do not matter, of shares such as Dice."""
    missing: Missing = "omit"
    undefined: Undefined = "omit"

    def tie_of(self, metric: Metric) -> float:
        """The difference of a case up to which a metric's scores are ties, in its unit."""
        return self.tie if self.tie is not None and metric.is_share else metric.tie


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """A method's scores of one metric, for a label or for the mean over labels."""

    method: str
    label: str
    cases: int
    """That have a score."""
    mean: float
    median: float
    interval: Interval
    """Of the mean, as the next two: the percentile interval, expanded for few patients."""
    percentile: Interval
    bca: Interval
    rank: Rank


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """Two methods on the same cases. Differences are those of `first` minus `second`."""

    first: str
    second: str
    label: str
    cases: int
    patients: int
    """Clusters of cases; as many as cases where no patients are named."""
    difference: float
    """Of the means."""
    interval: Interval
    """The percentile interval, expanded for few patients."""
    percentile: Interval
    bca: Interval
    p: float
    """Of Wilcoxon's signed-rank test on patients' means; NaN where no case differs."""
    p_holm: float
    """Adjusted over all pairs of this metric and label."""
    wins: int
    """Cases in which `first` is better by more than a tie."""
    ties: int
    losses: int
    detectable: float
    """The smallest difference that so many patients would have shown, with a chance of 80%."""
    verdict: Verdict | None = None
    """None without a margin, and for distances."""


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """All methods by one metric."""

    metric: Metric
    methods: tuple[MethodScore, ...]
    """By label, the mean over labels first; within a label by method."""
    pairs: tuple[PairScore, ...]
    scores: Scores
    """Every case's score."""

    def of_label(self, label: str = ALL_LABELS) -> tuple[MethodScore, ...]:
        """The methods' scores for one label, in the methods' order."""
        return tuple(one for one in self.methods if one.label == label)

    def pairs_of(self, label: str = ALL_LABELS) -> tuple[PairScore, ...]:
        """The pairs for one label."""
        return tuple(one for one in self.pairs if one.label == label)


@dataclass(frozen=True, kw_only=True)
class DatasetComparison:
    """All methods on one dataset."""

    dataset: str
    """Its name; empty where it is not known."""
    results: tuple[MethodResult, ...]
    patients: int | None
    """None where no patients are named."""
    metrics: tuple[MetricComparison, ...]
    budgets: Mapping[str, Budget]
    """Of the methods of which they are known."""
    findings: tuple[Finding, ...]
    """What makes the methods less comparable, worst first."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(result.name for result in self.results)

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases that were compared."""
        return self.metrics[0].scores.cases

    @property
    def labels(self) -> dict[str, str]:
        """The name of each label, by how it is written in summary.json."""
        names: Mapping[Region, str] = {}
        for result in reversed(self.results):
            names = {**names, **result.label_names}
        labels = self.metrics[0].scores.labels
        return {str(label): names.get(label, "") for label in labels}

    def label_title(self, label: str) -> str:
        """A label as a person reads it."""
        return (
            "mean over labels" if label == ALL_LABELS else f"{label} {self.labels[label]}".strip()
        )


@dataclass(frozen=True, kw_only=True)
class MeanRank:
    """The mean of a method's ranks over several datasets."""

    metric: str
    method: str
    rank: float
    interval: Interval
    """From draws of cases within each dataset; the datasets themselves are not drawn."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of `compare`."""

    datasets: tuple[DatasetComparison, ...]
    settings: ComparisonSettings
    mean_ranks: tuple[MeanRank, ...] = ()
    """Over datasets, of the methods that all of them have; empty for one dataset."""
    written: tuple[Path, ...] = ()
    """The files of the report."""
    not_drawn: tuple[CaseProblem, ...] = ()
    """Cases whose overlay could not be drawn."""

    def __repr__(self) -> str:
        first = self.datasets[0]
        scores = first.metrics[0].of_label()
        return card(
            f"Comparison of {len(first.methods)} methods on {counted(len(first.cases), 'case')}"
            + (
                f" and {counted(len(self.datasets) - 1, 'more dataset')}"
                if self.datasets[1:]
                else ""
            ),
            {
                score.method: f"{first.metrics[0].metric.key} {score.mean:.4f} "
                f"({score.interval.low:.4f} to {score.interval.high:.4f})"
                for score in scores
            }
            | {"findings": listed(one.rule for one in first.findings)},
        )

    def findings(self, severity: Severity) -> tuple[Finding, ...]:
        """Those of a severity, of all datasets."""
        return tuple(
            one for dataset in self.datasets for one in dataset.findings if one.severity == severity
        )

    def method_rows(self) -> list[dict[str, Any]]:
        """A row per dataset, metric, label and method, as `pandas.DataFrame` takes them."""
        return [
            {
                "dataset": dataset.dataset,
                "metric": metric.metric.key,
                "label": score.label,
                "method": score.method,
                "cases": score.cases,
                "mean": score.mean,
                "median": score.median,
                "low": score.interval.low,
                "high": score.interval.high,
                "percentile_low": score.percentile.low,
                "percentile_high": score.percentile.high,
                "bca_low": score.bca.low,
                "bca_high": score.bca.high,
                "rank": score.rank.rank,
                "rank_low": score.rank.interval.low,
                "rank_high": score.rank.interval.high,
                "p_first": score.rank.probabilities[0],
            }
            for dataset, metric in self._parts()
            for score in metric.methods
        ]

    def pair_rows(self) -> list[dict[str, Any]]:
        """A row per dataset, metric, label and pair of methods."""
        return [
            {
                "dataset": dataset.dataset,
                "metric": metric.metric.key,
                "label": pair.label,
                "first": pair.first,
                "second": pair.second,
                "cases": pair.cases,
                "patients": pair.patients,
                "difference": pair.difference,
                "low": pair.interval.low,
                "high": pair.interval.high,
                "percentile_low": pair.percentile.low,
                "percentile_high": pair.percentile.high,
                "bca_low": pair.bca.low,
                "bca_high": pair.bca.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "wins": pair.wins,
                "ties": pair.ties,
                "losses": pair.losses,
                "detectable": pair.detectable,
                "verdict": pair.verdict,
            }
            for dataset, metric in self._parts()
            for pair in metric.pairs
        ]

    def case_rows(self) -> list[dict[str, Any]]:
        """A row per dataset, metric, case, label and method, with the score as measured."""
        return [
            {
                "dataset": dataset.dataset,
                "metric": metric.metric.key,
                "case": case,
                "label": str(label),
                "method": method,
                "score": float(metric.scores.measured[number, row, column]),
            }
            for dataset, metric in self._parts()
            for row, case in enumerate(metric.scores.cases)
            for column, label in enumerate(metric.scores.labels)
            for number, method in enumerate(metric.scores.methods)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The document of results.json; what is not defined is null."""
        document = {
            "settings": asdict(self.settings),
            "datasets": [
                {
                    "name": dataset.dataset,
                    "methods": [
                        {
                            "name": result.name,
                            "sources": [str(path) for path in result.sources],
                            "cases": len(result.cases),
                            "folds": list(result.folds),
                        }
                        for result in dataset.results
                    ],
                    "labels": dataset.labels,
                    "cases": list(dataset.cases),
                    "patients": dataset.patients,
                    "budgets": {name: asdict(one) for name, one in dataset.budgets.items()},
                    "metrics": [
                        {
                            "metric": metric.metric.key,
                            "higher_is_better": metric.metric.is_share,
                            "methods": [asdict(score) for score in metric.methods],
                            "pairs": [asdict(pair) for pair in metric.pairs],
                            "undefined": [
                                {"label": str(label), "cases": number, "scored_by": scored}
                                for label, number, scored in metric.scores.undefined()
                            ],
                        }
                        for metric in dataset.metrics
                    ],
                    "findings": [
                        {"rule": one.rule, "severity": one.severity, "message": one.message}
                        for one in dataset.findings
                    ],
                }
                for dataset in self.datasets
            ],
            "mean_ranks": [asdict(rank) for rank in self.mean_ranks],
        }
        result: dict[str, Any] = finite(document)
        return result

    def _parts(self) -> Iterator[tuple[DatasetComparison, MetricComparison]]:
        for dataset in self.datasets:
            for metric in dataset.metrics:
                yield dataset, metric


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV, with the names of the columns first."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
