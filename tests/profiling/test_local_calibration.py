import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.cost.calibration import PUBLISHED
from resenc_plans.errors import FileError
from resenc_plans.profiling.local_calibration import (
    Measured,
    add_measurement,
    calibrate,
    load_measurements,
)

GIB = 2**30

ONE = Measured(
    gpu="H100",
    torch="2.13.0",
    date="2026-11-23T12:00:00+00:00",
    plans="nnUNetResEncUNetMPlans",
    configuration="3d_fullres",
    batch_size=2,
    patch_size=(96, 160, 160),
    counted_peak_bytes=6 * GIB,
    counted_bytes_moved=10**11,
    allocated_bytes=7 * GIB,
    reserved_bytes=8 * GIB,
    used_bytes=10 * GIB,
    seconds_per_step=0.1,
)


def test_what_was_measured_is_what_is_expected() -> None:
    calibration = calibrate([ONE])
    assert calibration.name == "H100"
    memory = calibration.memory_gb(6 * GIB, 6 * GIB, is_alike=True)
    assert memory.expected == pytest.approx(10)
    assert calibration.hours(10**11, 36_000).expected == pytest.approx(1)


@given(st.lists(st.integers(1, 80 * GIB), min_size=1, max_size=5))
def test_every_measurement_is_within_the_range(used: list[int]) -> None:
    measurements = [
        replace(ONE, used_bytes=size, counted_peak_bytes=number * GIB)
        for number, size in enumerate(used, 1)
    ]
    calibration = calibrate(measurements)
    for one in measurements:
        memory = calibration.memory_gb(
            one.counted_peak_bytes, one.counted_peak_bytes, is_alike=True
        )
        assert abs(memory.expected - one.used_bytes / GIB) <= (
            calibration.memory_error * one.used_bytes / GIB * (1 + 1e-9)
        )
    assert calibration.memory_error >= PUBLISHED.memory_error


def test_the_gpu_measured_last_decides() -> None:
    other = replace(ONE, gpu="RTX", used_bytes=9 * GIB)
    assert calibrate([ONE, other]).name == "RTX"
    assert calibrate([other, ONE]).name == "H100"


def test_measurements_are_kept_and_the_newer_one_of_a_step_replaces_the_older(
    tmp_path: Path,
) -> None:
    path = tmp_path / "settings" / "measurements.json"
    assert load_measurements(path) == ()
    add_measurement(path, ONE)
    newer, larger = replace(ONE, used_bytes=11 * GIB), replace(ONE, counted_peak_bytes=9 * GIB)
    add_measurement(path, newer)
    assert add_measurement(path, larger) == (newer, larger) == load_measurements(path)


@pytest.mark.parametrize("text", ["[{}]", '{"gpu": 1}', "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(text)
    with pytest.raises(FileError, match=r"measurements\.json: not a file of measurements"):
        load_measurements(path)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("key", ["seconds_per_step", "used_bytes", "counted_bytes_moved"])
def test_figures_that_nothing_has_are_named(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(json.dumps([asdict(ONE) | {key: value}]))
    with pytest.raises(
        FileError, match=rf"measurements\.json: not a file of measurements \(0\.{key}"
    ):
        load_measurements(path)
