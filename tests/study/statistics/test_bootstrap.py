"""Intervals from draws of cases and of patients."""

from typing import Any, Literal

import numpy as np
import pytest
from scipy import stats

from resenc_plans.study.statistics.bootstrap import (
    BootstrapMeans,
    bca_intervals,
    bootstrap_means,
    expanded_intervals,
    percentile_intervals,
)
from resenc_plans.study.statistics.clusters import Clusters

INTERVALS = {"percentile": percentile_intervals, "BCa": bca_intervals}
ALL = (*INTERVALS.values(), expanded_intervals)


def dice_like(cases: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(8, 1.5, (cases, columns))


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("cases", [20, 61])
def test_intervals_without_clusters_are_scipys_with_the_same_draws(
    method: Literal["percentile", "BCa"], cases: int
) -> None:
    values = dice_like(cases, 3)
    ours = bootstrap_means(values, Clusters.of(range(cases)), 999, seed=5)
    for column, interval in enumerate(INTERVALS[method](ours, 0.9)):
        theirs: Any = stats.bootstrap(
            [values[:, column].astype(float)], np.mean, n_resamples=999, confidence_level=0.9,
            method=method, rng=np.random.default_rng(5), vectorized=True,
        )  # fmt: skip
        expected = theirs.confidence_interval
        assert (interval.low, interval.high) == pytest.approx(
            (expected.low, expected.high), rel=1e-12
        )


def test_a_difference_of_columns_is_that_of_their_means_in_each_draw() -> None:
    values = dice_like(30, 2)
    both = bootstrap_means(values, Clusters.of(range(30)), 200, seed=1)
    alone = bootstrap_means(values[:, :1] - values[:, 1:], Clusters.of(range(30)), 200, seed=1)
    of_pair = both.differences(np.array([0]), np.array([1]))
    np.testing.assert_allclose(of_pair.draws, alone.draws, atol=1e-12)
    np.testing.assert_allclose(of_pair.left_out, alone.left_out, atol=1e-12)


def test_the_cases_of_a_cluster_are_drawn_together() -> None:
    values = np.repeat(dice_like(12, 1), 3, axis=0)
    thrice = bootstrap_means(values, Clusters.of(np.repeat(range(12), 3).tolist()), 300, seed=2)
    once = bootstrap_means(values[::3], Clusters.of(range(12)), 300, seed=2)
    for method in ALL:
        [wide], [expected] = method(thrice, 0.95), method(once, 0.95)
        assert (wide.low, wide.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_values_that_are_nan_take_no_part() -> None:
    values = dice_like(20, 1)
    values[3] = np.nan
    result = bootstrap_means(values, Clusters.of(range(20)), 50, seed=3)
    assert result.means[0] == pytest.approx(np.nanmean(values))
    assert not np.isnan(result.draws).any()


def test_a_column_without_a_value_and_a_single_case_have_no_interval() -> None:
    empty = bootstrap_means(np.full((5, 1), np.nan), Clusters.of(range(5)), 50, seed=3)
    single = bootstrap_means(np.ones((1, 1)), Clusters.of([0]), 50, seed=3)
    for method in ALL:
        assert np.isnan(method(empty, 0.95)[0].low)
        assert np.isnan(method(single, 0.95)[0].low)


def test_equal_values_have_an_interval_without_width() -> None:
    result = bootstrap_means(np.full((9, 1), 0.25), Clusters.of(range(9)), 50, seed=3)
    for method in ALL:
        assert method(result, 0.95)[0] == method(result, 0.5)[0]
        assert 0.25 in method(result, 0.95)[0]


def test_expanded_intervals_are_as_wide_as_students() -> None:
    values = np.random.default_rng(0).normal(0, 1, (12, 1))
    result = bootstrap_means(values, Clusters.of(range(12)), 40_000, seed=4)
    [expanded], [percentile] = (
        method(result, 0.95) for method in (expanded_intervals, percentile_intervals)
    )
    student = 2 * stats.t(11).ppf(0.975) * stats.sem(values[:, 0])
    assert expanded.high - expanded.low == pytest.approx(student, rel=0.05)
    assert percentile.high - percentile.low < 0.9 * student


def test_many_cases_need_no_expansion() -> None:
    result = bootstrap_means(dice_like(2000, 1), Clusters.of(range(2000)), 500, seed=4)
    [expanded], [percentile] = (
        method(result, 0.95) for method in (expanded_intervals, percentile_intervals)
    )
    assert expanded.low == pytest.approx(percentile.low, rel=1e-4)


def test_draws_on_one_side_of_the_mean_have_no_corrected_interval() -> None:
    """The bias is infinite there, which no correction survives."""
    means, draws = np.array([0.5]), np.array([[0.6, 0.7, 0.8]])
    result = BootstrapMeans(means, draws, np.array([[0.4, 0.6]]), np.array([2]))
    [interval] = bca_intervals(result, 0.95)
    assert np.isnan(interval.low)
