"""All methods by one metric: means, pairs and ranks with intervals, from the cases' scores."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from resenc_plans.study.comparison import (
    ALL_LABELS,
    ComparisonSettings,
    MethodScore,
    MetricComparison,
    PairScore,
    Verdict,
)
from resenc_plans.study.scores import Scores
from resenc_plans.study.statistics.bootstrap import (
    BootstrapMeans,
    Interval,
    bca_intervals,
    bootstrap_means,
    expanded_intervals,
    percentile_intervals,
    rounded,
)
from resenc_plans.study.statistics.clusters import Clusters, Floats
from resenc_plans.study.statistics.detectable import detectable_difference
from resenc_plans.study.statistics.ranks import rank_methods
from resenc_plans.study.statistics.signed_rank import holm, signed_rank_p


class PairedComparison:
    """The statistics of one metric. Columns are ordered by label, and within a label by method."""

    def __init__(self, scores: Scores, clusters: Clusters, settings: ComparisonSettings) -> None:
        self._scores, self._clusters, self._settings = scores, clusters, settings
        self._labels = (ALL_LABELS, *map(str, scores.labels))
        self._columns = scores.columns
        self._pairs = list(combinations(range(len(scores.methods)), 2))
        by_label = self._columns.transpose(1, 2, 0).reshape(len(scores.cases), -1)
        self._means = bootstrap_means(by_label, clusters, settings.draws, settings.seed)

    @property
    def draws(self) -> Floats:
        """Of the methods' means over labels, `(methods, draws)`, higher is better."""
        return self._scores.metric.sign * self._means.draws[: len(self._scores.methods)]

    def result(self) -> MetricComparison:
        """All that is found."""
        return MetricComparison(
            metric=self._scores.metric,
            methods=tuple(self._methods()),
            pairs=tuple(self._all_pairs()),
            scores=self._scores,
        )

    def _methods(self) -> Iterator[MethodScore]:
        level, sign = self._settings.level, self._scores.metric.sign
        expanded, percentile, bca = _intervals(self._means, level)
        count = len(self._scores.methods)
        for position, label in enumerate(self._labels):
            span = slice(position * count, (position + 1) * count)
            ranks = rank_methods(
                sign * self._means.means[span], sign * self._means.draws[span], level
            )
            for number, (method, rank) in enumerate(zip(self._scores.methods, ranks, strict=True)):
                column = span.start + number
                values = self._columns[number, :, position]
                values = values[~np.isnan(values)]
                yield MethodScore(
                    method=method,
                    label=label,
                    cases=values.size,
                    mean=float(self._means.means[column]),
                    median=float(np.median(values)) if values.size else float("nan"),
                    interval=expanded[column],
                    percentile=percentile[column],
                    bca=bca[column],
                    rank=rank,
                )

    def _all_pairs(self) -> Iterator[PairScore]:
        level, count = self._settings.level, len(self._scores.methods)
        for position, label in enumerate(self._labels):
            first, second = np.array(self._pairs).T + position * count
            differences = self._means.differences(first, second)
            expanded, percentile, bca = _intervals(differences, level)
            of_cases = [
                rounded(self._columns[one, :, position] - self._columns[other, :, position])
                for one, other in self._pairs
            ]
            p_values = [signed_rank_p(rounded(self._clusters.means(one))) for one in of_cases]
            adjusted = holm(p_values)
            for number, (one, other) in enumerate(self._pairs):
                yield self._pair(
                    of_cases[number],
                    first=self._scores.methods[one],
                    second=self._scores.methods[other],
                    label=label,
                    difference=float(differences.means[number]),
                    interval=expanded[number],
                    percentile=percentile[number],
                    bca=bca[number],
                    p=p_values[number],
                    p_holm=adjusted[number],
                    verdict=self._verdict(expanded[number]),
                )

    def _pair(self, differences: Floats, **parts: object) -> PairScore:
        metric, settings = self._scores.metric, self._settings
        tie = settings.tie_of(metric)
        gains = metric.sign * differences[~np.isnan(differences)]
        alpha = (1 - settings.level) / len(self._pairs)
        return PairScore(
            cases=gains.size,
            patients=self._clusters.means(differences).size,
            wins=int((gains > tie).sum()),
            ties=int((np.abs(gains) <= tie).sum()),
            losses=int((gains < -tie).sum()),
            detectable=detectable_difference(differences, self._clusters, alpha),
            **parts,  # type: ignore[arg-type]
        )

    def _verdict(self, interval: Interval) -> Verdict | None:
        margin = self._settings.margin
        if margin is None or not self._scores.metric.is_share:
            return None
        return verdict_of(interval, margin)


def _intervals(
    means: BootstrapMeans, level: float
) -> tuple[list[Interval], list[Interval], list[Interval]]:
    """Of each column: the expanded percentile interval, the percentile one, and BCa."""
    kinds = (expanded_intervals, percentile_intervals, bca_intervals)
    expanded, percentile, bca = (intervals(means, level) for intervals in kinds)
    return expanded, percentile, bca


def verdict_of(gain: Interval, margin: float) -> Verdict:
    """What an interval of how much better the first method is says, by a margin.

    >>> verdict_of(Interval(-0.005, 0.004), 0.01), verdict_of(Interval(-0.005, 0.04), 0.01)
    ('equivalent', 'not inferior')
    """
    if gain.low > 0 and gain.high > margin:
        return "superior"
    if -margin < gain.low and gain.high < margin:
        return "equivalent"
    if gain.low > -margin:
        return "not inferior"
    if gain.high < 0:
        return "inferior"
    return "open"
