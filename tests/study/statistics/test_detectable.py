"""The smallest difference that could have been shown."""

import math

import numpy as np
import pytest
from scipy import stats

from resenc_plans.study.statistics.clusters import Clusters
from resenc_plans.study.statistics.detectable import detectable_difference


def test_without_clusters_it_is_so_many_standard_errors_of_the_mean() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 40)
    t = stats.t(39)
    expected = (t.ppf(0.975) + t.ppf(0.8)) * stats.sem(differences)
    found = detectable_difference(differences, Clusters.of(range(40)), 0.05)
    assert found == pytest.approx(expected, rel=1e-9)


def test_three_equal_cases_of_a_patient_show_no_more_than_one() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 15)
    once = detectable_difference(differences, Clusters.of(range(15)), 0.05)
    patients = Clusters.of(np.repeat(range(15), 3).tolist())
    assert detectable_difference(np.repeat(differences, 3), patients, 0.05) == pytest.approx(once)


def test_one_patient_shows_nothing() -> None:
    assert math.isnan(detectable_difference(np.ones(3), Clusters.of("aaa"), 0.05))
