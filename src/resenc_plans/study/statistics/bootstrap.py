"""Bootstrap of means over cases: draws of clusters, and intervals from them.

Efron and Tibshirani (1993): An Introduction to the Bootstrap; BCa in chapter 14.3. A draw is a row
of a matrix of counts, so that all draws of all means are two products of matrices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from resenc_plans.study.statistics.clusters import Clusters, Floats, drawn_counts

_DECIMALS = 13
"""Of scores and their means: digits beyond them come from how they were summed up."""


@dataclass(frozen=True)
class Interval:
    """Two ends; NaN where nothing can be said, as with one patient."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class BootstrapMeans:
    """Means of columns over cases, and what resampling makes of them. NaN is no value."""

    means: Floats
    """`(columns,)`"""
    draws: Floats
    """`(columns, draws)`; NaN where no drawn case has a value."""
    left_out: Floats
    """`(columns, clusters)`: the means without one cluster each."""
    sizes: NDArray[np.intp]
    """`(columns,)`: the clusters that have a value."""

    def differences(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> "BootstrapMeans":
        """Columns `first` minus columns `second`."""
        return BootstrapMeans(
            rounded(self.means[first] - self.means[second]),
            rounded(self.draws[first] - self.draws[second]),
            self.left_out[first] - self.left_out[second],
            np.minimum(self.sizes[first], self.sizes[second]),
        )


def bootstrap_means(values: Floats, clusters: Clusters, draws: int, seed: int) -> BootstrapMeans:
    """Draw clusters with replacement, and average each column of `values` `(cases, columns)`.

    A mean is that of all drawn cases that have a value, so that a cluster of three cases has three
    times the weight of a cluster of one.
    """
    is_valid = ~np.isnan(values)
    sums = clusters.sums(np.where(is_valid, values, 0.0))
    counts = clusters.sums(is_valid.astype(float))
    totals = sums.sum(0), counts.sum(0)
    parts = [
        _ratio(drawn @ sums, drawn @ counts) for drawn in drawn_counts(clusters.size, draws, seed)
    ]
    return BootstrapMeans(
        means=rounded(_ratio(*totals)),
        draws=rounded(np.ascontiguousarray(np.concatenate(parts).T)),
        left_out=_ratio(totals[0] - sums, totals[1] - counts).T,
        sizes=(counts > 0).sum(0),
    )


def rounded(values: Floats) -> Floats:
    """Values of which equal ones compare equal, however they were computed.

    >>> rounded(np.array([0.86 - 0.85])) == 0.01
    array([ True])
    """
    return values.round(_DECIMALS)


def percentile_intervals(bootstrap: BootstrapMeans, level: float) -> list[Interval]:
    """Quantiles of the draws, for each column."""
    tail = np.full(len(bootstrap.means), (1 - level) / 2)
    return _intervals(bootstrap, tail, 1 - tail)


def expanded_intervals(bootstrap: BootstrapMeans, level: float) -> list[Interval]:
    """Percentile intervals as wide as Student's t would have them, for each column.

    Percentile intervals of few patients are too narrow: draws vary by `(n - 1) / n` of what data
    do, and their spread is not known. So quantiles further out are taken, those at
    `Phi(-sqrt(n / (n - 1)) t)`, with the quantile t of n - 1 degrees of freedom (the expanded
    percentile interval of Hesterberg 2015, What Teachers Should Know About the Bootstrap; his R
    package resample has it as ExpandProbs).
    """
    sizes = np.maximum(bootstrap.sizes, 2).astype(float)
    tail = ndtr(-np.sqrt(sizes / (sizes - 1)) * stdtrit(sizes - 1, (1 + level) / 2))
    return _intervals(bootstrap, tail, 1 - tail)


def bca_intervals(bootstrap: BootstrapMeans, level: float) -> list[Interval]:
    """Bias-corrected and accelerated intervals, for each column.

    They correct for a bias of the draws and for skewness, by leaving out one cluster at a time.
    """
    drawn, mean = bootstrap.draws, bootstrap.means[:, None]
    is_valid = ~np.isnan(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = ((drawn < mean).sum(1) + (drawn <= mean).sum(1)) / (2 * is_valid.sum(1))
        shift = ndtri(below)
        left_out = bootstrap.left_out
        size = (~np.isnan(left_out)).sum(1)
        spread = (size - 1)[:, None] * (_nanmean(left_out)[:, None] - left_out)
        cubes, squares = (np.nansum(spread**power, 1) / size**power for power in (3, 2))
        acceleration = np.where(squares > 0, cubes / (6 * squares**1.5), 0.0)
        ends = []
        for quantile in ((1 - level) / 2, (1 + level) / 2):
            normal = shift + ndtri(quantile)
            ends.append(ndtr(shift + normal / (1 - acceleration * normal)))
    return _intervals(bootstrap, *ends)


def _intervals(bootstrap: BootstrapMeans, low: Floats, high: Floats) -> list[Interval]:
    """Quantiles of each column's draws; those of a column without spread are its mean."""
    rows = np.sort(bootstrap.draws, axis=1)  # NaN last
    sizes = (~np.isnan(rows)).sum(1)
    intervals = []
    for row, size, mean, *ends in zip(rows, sizes, bootstrap.means, low, high, strict=True):
        if size == 0 or bootstrap.left_out.shape[1] < 2:
            intervals.append(Interval(float("nan"), float("nan")))
        elif row[0] == row[size - 1]:
            intervals.append(Interval(float(mean), float(mean)))
        else:
            intervals.append(Interval(*(_quantile(row[:size], end) for end in ends)))
    return intervals


def _quantile(ordered: Floats, share: float) -> float:
    """The value below which a share of sorted values lies, interpolated as `np.quantile` does."""
    if np.isnan(share):
        return float("nan")
    place = share * (len(ordered) - 1)
    index = min(int(place), len(ordered) - 2)
    return float(ordered[index] + (place - index) * (ordered[index + 1] - ordered[index]))


def _nanmean(values: Floats) -> Floats:
    is_valid = ~np.isnan(values)
    return _ratio(np.where(is_valid, values, 0.0).sum(1), is_valid.sum(1))


def _ratio(sums: Floats, counts: Floats) -> Floats:
    ratios = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=ratios, where=counts > 0)
    return ratios
