"""Ranks, their probabilities and intervals."""

import numpy as np
import pytest

from resenc_plans.study.statistics.bootstrap import Interval
from resenc_plans.study.statistics.ranks import mean_ranks, rank_methods


def test_probabilities_are_the_shares_of_draws() -> None:
    draws = np.array([[0.9, 0.9, 0.7, 0.9], [0.8, 0.8, 0.8, 0.8]])
    first, second = rank_methods(draws.mean(1), draws, 0.95)
    assert (first.rank, first.probabilities) == (1, (0.75, 0.25))
    assert (second.rank, second.probabilities) == (2, (0.25, 0.75))
    assert first.interval == Interval(1, 2)


def test_equal_methods_share_their_ranks() -> None:
    draws = np.full((2, 10), 0.5)
    for rank in rank_methods(draws.mean(1), draws, 0.95):
        assert (rank.rank, rank.probabilities) == (1.5, (0.5, 0.5))


def test_a_method_that_always_wins_has_one_rank() -> None:
    draws = np.stack([np.full(1000, 0.9), np.linspace(0, 0.8, 1000), np.linspace(0.8, 0, 1000)])
    ranks = rank_methods(draws.mean(1), draws, 0.95)
    assert ranks[0].interval == Interval(1, 1)
    assert ranks[1].interval == Interval(2, 3)
    assert np.sum([rank.probabilities for rank in ranks], 0) == pytest.approx([1, 1, 1])


def test_mean_ranks_average_over_datasets_draw_by_draw() -> None:
    one, other = np.array([[0.9], [0.8]]), np.array([[0.1], [0.2]])
    assert mean_ranks([one, other], 0.95) == [Interval(1.5, 1.5)] * 2
