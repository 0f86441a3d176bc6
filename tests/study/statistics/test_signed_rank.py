"""Wilcoxon's test and Holm's adjustment."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from resenc_plans.study.statistics.signed_rank import holm, signed_rank_p


@pytest.mark.parametrize("size", [1, 2, 5, 20, 50])
def test_few_differences_are_tested_exactly_as_scipy_does(size: int) -> None:
    differences = np.random.default_rng(size).normal(0.3, 1, size)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [51, 60, 500])
@pytest.mark.parametrize("digits", [1, 9])
def test_many_differences_with_and_without_ties_are_tested_as_scipy_does(
    size: int, digits: int
) -> None:
    differences: Any = np.random.default_rng(size).normal(0.1, 1, size).round(digits)
    differences = differences[differences != 0]
    asymptotic: Any = "asymptotic"  # the stubs know its former name only
    expected = stats.wilcoxon(differences, method=asymptotic).pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ties_among_few_differences_are_tested_by_all_signs(seed: int) -> None:
    differences = np.random.default_rng(seed).choice([-2.0, -1.0, 1.0, 2.0, 3.0], 9)
    expected = stats.wilcoxon(differences, method=stats.PermutationMethod()).pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-12)


def test_differences_of_zero_are_left_out() -> None:
    differences = np.array([0.0, 1.0, 2.0, -3.0, 4.0, 0.0])
    assert signed_rank_p(differences) == signed_rank_p(differences[1:5])


def test_equal_methods_have_no_p_value() -> None:
    assert math.isnan(signed_rank_p(np.zeros(9)))


def test_holm_multiplies_and_never_falls() -> None:
    """What statsmodels' `multipletests(…, method="holm")` gives, by hand: 0.005 x 4, 0.01 x 3, …"""
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-12)
    assert holm([0.5, 0.6]) == [1.0, 1.0]


def test_a_test_without_a_p_value_counts_as_one_of_them() -> None:
    adjusted = holm([0.01, math.nan])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
