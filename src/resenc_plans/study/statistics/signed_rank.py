"""Wilcoxon's signed-rank test, and Holm's adjustment of the p values of several tests."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from resenc_plans.study.statistics.clusters import Floats

MAX_EXACT = 50
"""Differences up to which all signs are counted; beyond, the normal distribution is close."""


def signed_rank_p(differences: Floats) -> float:
    """The two-sided p value of Wilcoxon's signed-rank test; NaN without a difference.

    Zeros are left out, and ties have their mean rank. Up to `MAX_EXACT` differences, the
    distribution of the statistic over all signs is counted, given the ties; beyond, it is the
    normal one with the variance corrected for ties, without correction for continuity. Equals
    `scipy.stats.wilcoxon`, but for ties among 14 to 50 differences, where SciPy approximates.

    >>> signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    0.0625
    """
    values = differences[(differences != 0) & ~np.isnan(differences)]
    if not values.size:
        return float("nan")
    ranks, ties = _mean_ranks(np.abs(values))
    positive = float(ranks[values > 0].sum())
    if values.size <= MAX_EXACT:
        return _exact(np.rint(2 * ranks).astype(int), round(2 * positive))
    size = values.size
    mean = size * (size + 1) / 4
    variance = size * (size + 1) * (2 * size + 1) / 24 - float((ties**3 - ties).sum()) / 48
    return float(2 * ndtr(-abs(positive - mean) / variance**0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted so that the chance of any false finding stays below the level.

    Holm (1979): A Simple Sequentially Rejective Multiple Test Procedure. A test without a p value
    (NaN), of methods that do not differ in any case, is counted and stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [float("nan")] * len(p_values)
    highest = 0.0
    order = sorted(
        (index for index, p in enumerate(p_values) if not np.isnan(p)), key=p_values.__getitem__
    )
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _mean_ranks(values: Floats) -> tuple[Floats, Floats]:
    """Ranks from 1, equal values sharing their mean; and the number of each value."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place], counts.astype(float)


def _exact(doubled_ranks: np.ndarray, doubled_sum: int) -> float:
    """The share of all signs whose sum is at least as far out, twice the smaller tail."""
    total = int(doubled_ranks.sum())
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for rank in doubled_ranks:
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[: total + 1 - rank]
        chances = (chances + shifted) / 2
    tails = chances[: doubled_sum + 1].sum(), chances[doubled_sum:].sum()
    return float(min(1.0, 2 * min(tails)))
