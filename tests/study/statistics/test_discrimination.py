"""How well a dataset tells methods apart: the formula, and how often the interval holds it."""

import math

import numpy as np
import pytest

from resenc_plans.study.statistics.discrimination import discrimination


def test_the_ratio_is_that_of_the_formula() -> None:
    scores = [[0.8, 0.82], [0.9, 0.94], [0.7, 0.7]]
    found = discrimination(scores)
    assert found is not None
    means = [0.81, 0.92, 0.7]
    within = ((2 * 0.01**2 + 2 * 0.02**2) / 3) ** 0.5
    assert found.between == pytest.approx(np.std(means, ddof=1))
    assert found.within == pytest.approx(within)
    assert found.ratio == pytest.approx(np.std(means, ddof=1) / within)
    assert (found.methods, found.runs) == (3, 6)
    assert found.by_noise == pytest.approx(2**-0.5)
    assert found.interval.low <= found.ratio <= found.interval.high
    assert found.tells_apart


def test_without_two_runs_of_any_method_there_is_none() -> None:
    assert discrimination([[0.8], [0.9]]) is None
    assert discrimination([[0.8, 0.9]]) is None
    assert discrimination([[0.8, math.nan], [0.9, 0.8]]) is None


def test_equal_runs_have_no_spread_to_compare_with() -> None:
    apart, alike = discrimination([[0.8, 0.8], [0.9, 0.9]]), discrimination([[0.8, 0.8]] * 2)
    assert apart is not None
    assert math.isinf(apart.ratio)
    assert apart.tells_apart
    assert alike is not None
    assert math.isnan(alike.ratio)
    assert not alike.tells_apart


@pytest.mark.parametrize("true_ratio", [0.0, 1.0, 3.0])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(true_ratio: float) -> None:
    random = np.random.default_rng(1)
    means = true_ratio * np.array([-1.0, 0.0, 1.0])
    draws = 400
    hits = 0
    for _ in range(draws):
        found = discrimination([mean + random.normal(size=4) for mean in means])
        assert found is not None
        hits += found.interval.low <= true_ratio <= found.interval.high
    assert 0.92 < hits / draws < 0.98


def test_the_sentence_says_what_it_comes_to() -> None:
    found = discrimination([[0.8, 0.82], [0.9, 0.94]])
    assert found is not None
    text = found.sentence("Dataset004_Hippocampus", 0.95)
    assert "the 95% interval is" in text
    assert text.startswith("On Dataset004_Hippocampus, the means of the 2 methods spread by")
