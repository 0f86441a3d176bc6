"""Intervals and tests of paired scores: verdicts, and how often they are right."""

import sys
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resenc_plans.evaluation.known_metrics import KNOWN_METRICS
from resenc_plans.study.comparison import ComparisonSettings
from resenc_plans.study.paired import PairedComparison, verdict_of
from resenc_plans.study.scores import Scores
from resenc_plans.study.statistics.bootstrap import Interval
from resenc_plans.study.statistics.clusters import Clusters

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "comparison_coverage.py"


def test_verdicts_follow_from_interval_and_margin() -> None:
    cases = {
        (-0.005, 0.005): "equivalent",
        (0.001, 0.009): "equivalent",
        (0.001, 0.02): "superior",
        (-0.02, -0.001): "inferior",
        (-0.005, 0.02): "not inferior",
        (-0.02, 0.02): "open",
    }
    for ends, verdict in cases.items():
        assert verdict_of(Interval(*ends), 0.01) == verdict, ends


def test_a_lower_distance_wins() -> None:
    values = np.stack([np.full(9, 1.0), np.full(9, 3.0)])[:, :, None]
    names = tuple(map(str, range(9)))
    scores = Scores(KNOWN_METRICS["HD95"], ("near", "far"), names, (1,), values)
    settings = ComparisonSettings(draws=100, margin=0.5, tie=3)
    result = PairedComparison(scores, Clusters.of(names), settings).result()
    [pair] = result.pairs_of()
    assert (pair.wins, pair.ties, pair.losses) == (9, 0, 0)
    assert pair.difference == -2
    assert pair.verdict is None, "a margin is about shares"
    assert [score.rank.rank for score in result.of_label()] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "cases"), [(60, 1), (60, 3)])
def test_intervals_hold_the_truth_and_tests_are_seldom_wrong(patients: int, cases: int) -> None:
    """Fifty studies of 2,000; docs/compare.md has the whole table.

    Of fifty, fewer than 42 intervals of 95% or more than eight wrong tests of 5% are a chance of
    less than one in a thousand.
    """
    spec = util.spec_from_file_location("comparison_coverage", SCRIPT)
    assert spec is not None
    script: Any = util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    counts = script.studies(script.Setting(patients, cases, 2), range(50), 500)
    assert counts.expanded >= 42
    assert counts.mean_expanded >= 42
    assert counts.wrong <= 8


def scored(first: list[float], second: list[float]) -> PairedComparison:
    """Of patients with two cases each."""
    values = np.array([first, second])[:, :, None]
    names = tuple(map(str, range(len(first))))
    scores = Scores(KNOWN_METRICS["Dice"], ("a", "b"), names, (1,), values)
    patients = [number // 2 for number in range(len(first))]
    return PairedComparison(scores, Clusters.of(patients), ComparisonSettings(draws=100))


def test_a_difference_of_just_the_tie_is_a_tie() -> None:
    """0.86 - 0.85 is a little more than 0.01 in binary."""
    [pair] = scored([0.86, 0.85, 0.87, 0.5], [0.85, 0.86, 0.85, 0.5]).result().pairs_of()
    assert (pair.wins, pair.ties, pair.losses) == (1, 3, 0)


def test_patients_whose_differences_cancel_are_not_told_apart_by_rounding() -> None:
    first, second = [0.9, 0.3, 0.9, 0.3], [0.8, 0.4, 0.8, 0.4]
    assert 0 < abs((0.9 - 0.8) + (0.3 - 0.4)) < 1e-15
    [pair] = scored(first, second).result().pairs_of()
    assert np.isnan(pair.p)
