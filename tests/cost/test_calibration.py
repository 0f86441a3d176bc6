"""The calibration against the figures that it was fitted to."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from resenc_plans.cost.calibration import PUBLISHED, Range
from resenc_plans.cost.estimate import ITERATIONS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fitting(shared: Path) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import fit_calibration
    finally:
        sys.path.remove(str(BENCHMARKS))
    assert vars(fit_calibration)["SHARED"] == shared
    return fit_calibration


def test_the_values_in_use_are_those_of_the_fit(fitting: ModuleType) -> None:
    observed = fitting.observations()
    slope, offset = fitting.fit_memory(observed)
    assert pytest.approx(slope, rel=1e-3) == PUBLISHED.memory_slope
    assert pytest.approx(offset, rel=1e-3) == PUBLISHED.memory_offset_gb
    assert pytest.approx(fitting.fit_bandwidth(observed), rel=1e-3) == PUBLISHED.bytes_per_second
    assert pytest.approx(observed[0].moved, rel=1e-3) == PUBLISHED.reference_bytes


def test_the_four_presets_are_within_ten_percent_also_where_left_out(fitting: ModuleType) -> None:
    observed = fitting.observations()
    published = {o.preset: o.memory_gb for o in observed}
    assert published == {"default": 7.7, "M": 9.1, "L": 22.7, "XL": 36.6}
    for left_out, o in enumerate(observed):
        rest = [*observed[:left_out], *observed[left_out + 1 :]]
        for slope, offset in (
            (PUBLISHED.memory_slope, PUBLISHED.memory_offset_gb),
            fitting.fit_memory(rest),
        ):
            assert slope * o.peak + offset == pytest.approx(o.memory_gb, rel=0.1), o.preset


def test_published_hours_lie_in_the_range_also_where_left_out(fitting: ModuleType) -> None:
    observed = fitting.observations()
    for left_out, o in enumerate(observed):
        rest = [*observed[:left_out], *observed[left_out + 1 :]]
        for rate in (PUBLISHED.bytes_per_second, fitting.fit_bandwidth(rest)):
            hours = o.moved * ITERATIONS / rate / 3600
            assert hours == pytest.approx(o.hours, rel=PUBLISHED.hours_error), o.preset


def test_memory_and_the_bytes_that_fill_it_are_inverse() -> None:
    for is_alike in (True, False):
        peak = int(PUBLISHED.bytes_within(24, is_alike=is_alike))
        assert PUBLISHED.memory_gb(peak, peak, is_alike=is_alike).high == pytest.approx(24)


def test_a_range_of_many_hours_is_written_without_an_exponent() -> None:
    assert str(Range(116.4, 136.9, 1575.0)) == "140 (120-1600)"
    assert str(Range(0.0012, 1.26, 10.4)) == "1.3 (0.0012-10)"
