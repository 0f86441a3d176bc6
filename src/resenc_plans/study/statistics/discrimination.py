"""How well a dataset tells methods apart: their spread against that of each method's own runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ncfdtr

from resenc_plans.study.statistics.bootstrap import Interval

_MAX_NONCENTRALITY = 1e6


@dataclass(frozen=True)
class Discrimination:
    """Of one dataset, by one metric."""

    methods: int
    runs: int
    """Of all methods together."""
    between: float
    """The standard deviation of the methods' means."""
    within: float
    """The pooled standard deviation of the runs of a method."""
    ratio: float
    """`between / within`; infinite where the runs of each method are equal."""
    interval: Interval
    """Of the ratio that stands behind it."""
    by_noise: float
    """The ratio to be expected where methods do not differ."""

    @property
    def tells_apart(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval.low > 0

    def sentence(self, dataset: str, level: float) -> str:
        """What it says, for a report."""
        verdict = (
            "so the dataset can tell these methods apart"
            if self.tells_apart
            else "so the dataset has not been shown to tell these methods apart"
        )
        return (
            f"On {dataset}, the means of the {self.methods} methods spread by {self.ratio:.2f} "
            f"times as much as the runs of one method (folds and seeds); the {100 * level:g}% "
            f"interval is {self.interval.low:.2f} to {self.interval.high:.2f}, and runs alone "
            f"would give about {self.by_noise:.2f}, {verdict}."
        )


def discrimination(scores: Sequence[Sequence[float]], level: float = 0.95) -> Discrimination | None:
    """The ratio of the spread between methods to that within a method; None where none exists.

    Let `x[m][r]` be the mean score of run `r` (a fold and a seed) of method `m`, `n[m]` the number
    of its runs, `M` the number of methods, `N` the sum of `n[m]`, and `mean[m]` the mean of
    `x[m]`::

        between = sqrt(sum over m of (mean[m] - mean(mean))**2 / (M - 1))
        within  = sqrt(sum over m and r of (x[m][r] - mean[m])**2 / (N - M))
        ratio   = between / within

    as nnU-Net Revisited (Isensee et al. 2024, arXiv 2404.09556) relates the standard deviation
    between methods to that within them. The interval is that of the ratio of the true standard
    deviations: `F = n * ratio**2`, with the harmonic mean `n` of `n[m]`, has the noncentral F
    distribution with M - 1 and N - M degrees of freedom and noncentrality
    `n * (M - 1) * true_ratio**2`, for normal scores of equal variance (Steiger and Fouladi 1997,
    Noncentrality interval estimation). Methods that do not differ have a ratio of about
    `1 / sqrt(n)`, which the interval allows for; it may therefore lie below the ratio. Folds that
    are hard for all methods count as spread within, so that the interval is cautious.

    Parameters
    ----------
    scores
        By method, the means of its runs. Methods with one run count between methods, not within.
    level
        Of the interval.
    """
    runs = [np.asarray(values, float) for values in scores if len(values)]
    count, total = len(runs), sum(map(len, runs))
    if count < 2 or total <= count or not all(np.isfinite(values).all() for values in runs):
        return None
    means = np.array([values.mean() for values in runs])
    between = float(means.std(ddof=1))
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in runs)
    within = (squares / (total - count)) ** 0.5
    size = count / sum(1 / len(values) for values in runs)
    ratio = between / within if within > 0 else float("inf") if between > 0 else float("nan")
    return Discrimination(
        methods=count,
        runs=total,
        between=between,
        within=within,
        ratio=ratio,
        interval=_interval(ratio, size, count - 1, total - count, level),
        by_noise=size**-0.5,
    )


def _interval(ratio: float, size: float, first: int, second: int, level: float) -> Interval:
    """The ratios whose noncentral F has the observed one between its tails."""
    if not np.isfinite(ratio):
        return Interval(ratio, ratio)
    observed = size * ratio**2

    def end(share: float) -> float:
        def excess(noncentrality: float) -> float:
            return float(ncfdtr(first, second, noncentrality, observed)) - share

        if excess(0.0) <= 0:
            return 0.0
        high = 1.0
        while excess(high) > 0 and high < _MAX_NONCENTRALITY:
            high *= 2
        if excess(high) > 0:
            return float("inf")
        return float((brentq(excess, 0.0, high, xtol=1e-9) / (size * first)) ** 0.5)

    return Interval(end((1 + level) / 2), end((1 - level) / 2))
