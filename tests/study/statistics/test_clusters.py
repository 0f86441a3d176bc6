"""Clusters, and draws of them."""

import numpy as np

from resenc_plans.study.statistics.clusters import Clusters, drawn_counts


def test_each_draw_takes_as_many_clusters_as_there_are() -> None:
    [counts] = drawn_counts(7, 40, seed=1)
    assert counts.shape == (40, 7)
    assert (counts.sum(1) == 7).all()


def test_draws_in_parts_are_those_in_one() -> None:
    """Parts are of a million draws; the generator goes on where it was."""
    size = 1 << 20
    parts = list(drawn_counts(size, 5, seed=3))
    assert [len(part) for part in parts] == [4, 1]
    drawn = np.random.default_rng(3).integers(0, size, (5, size))
    expected = [np.bincount(row, minlength=size) for row in drawn]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_the_mean_of_a_cluster_is_that_of_its_values() -> None:
    clusters = Clusters.of(["a", "b", "a", "c"])
    means = clusters.means(np.array([1.0, 5.0, 3.0, np.nan]))
    np.testing.assert_array_equal(means, [2.0, 5.0])
