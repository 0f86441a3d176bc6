"""Ranks of methods, and how they change from draw to draw."""

from dataclasses import dataclass

import numpy as np

from resenc_plans.study.statistics.bootstrap import Interval
from resenc_plans.study.statistics.clusters import Floats


@dataclass(frozen=True)
class Rank:
    """The place of a method, 1 is best."""

    rank: float
    """In the data; equal methods share the mean of their ranks."""
    probabilities: tuple[float, ...]
    """Of each rank in a draw; equal methods share them."""
    interval: Interval


def rank_methods(means: Floats, draws: Floats, level: float) -> list[Rank]:
    """Ranks by means `(methods,)` and their draws `(methods, draws)`; the highest is rank 1.

    Draws in which a method has no mean are left out. The interval of a rank is the smallest that
    leaves at most half of what `level` spares on each side.
    """
    draws = draws[:, ~np.isnan(draws).any(0)]
    own = _mid_ranks(means[:, None])[:, 0]
    better, tied = _better_and_tied(draws)
    ranks = []
    for method in range(len(means)):
        places = np.arange(len(means))[:, None]
        first, last = better[method], better[method] + tied[method]
        shares = ((first <= places) & (places <= last)) / (tied[method] + 1)
        chances = shares.mean(1) if draws.size else np.full(len(means), np.nan)
        ranks.append(Rank(float(own[method]), tuple(chances.tolist()), _interval(chances, level)))
    return ranks


def mean_ranks(draws: list[Floats], level: float) -> list[Interval]:
    """Intervals of the methods' mean ranks over datasets, from each dataset's draws."""
    ranks = np.mean([_mid_ranks(of_dataset) for of_dataset in draws], 0)
    tail = (1 - level) / 2
    ends = np.nanquantile(ranks, (tail, 1 - tail), axis=1)
    return [Interval(float(low), float(high)) for low, high in ends.T]


def mid_ranks(means: Floats) -> Floats:
    """The rank of each mean, the highest first; equal ones share the mean of their ranks.

    >>> mid_ranks(np.array([0.7, 0.9, 0.7]))
    array([2.5, 1. , 2.5])
    """
    return _mid_ranks(means[:, None])[:, 0]


def _mid_ranks(draws: Floats) -> Floats:
    better, tied = _better_and_tied(draws)
    return np.where(np.isnan(draws), np.nan, 1 + better + tied / 2)


def _better_and_tied(draws: Floats) -> tuple[np.ndarray, np.ndarray]:
    """For each method and draw, how many others are better, and how many equal."""
    better, tied = np.zeros((2, *draws.shape), np.int64)
    for method, own in enumerate(draws):
        better[method] = (draws > own).sum(0)
        tied[method] = (draws == own).sum(0) - 1
    return better, np.maximum(tied, 0)


def _interval(chances: np.ndarray, level: float) -> Interval:
    if np.isnan(chances).any():
        return Interval(float("nan"), float("nan"))
    tail = (1 - level) / 2
    cumulated = np.cumsum(chances)
    low = int(np.argmax(cumulated > tail))
    high = int(np.argmax(cumulated >= 1 - tail - 1e-12))
    return Interval(low + 1.0, max(low, high) + 1.0)
