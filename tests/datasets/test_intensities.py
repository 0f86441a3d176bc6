import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from resenc_plans.datasets.intensities import (
    Draws,
    case_intensities,
    intensity_properties,
    statistics,
)

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def _by_numpy(values: FloatArray) -> dict[str, float]:
    low, median, high = np.percentile(values, [0.5, 50, 99.5])
    return {
        "max": float(values.max()),
        "mean": float(values.mean()),
        "median": float(median),
        "min": float(values.min()),
        "percentile_00_5": float(low),
        "percentile_99_5": float(high),
        "std": float(values.std()),
    }


def _as_nnunet_does(cases: list[list[NDArray[Any]]], samples: int) -> list[dict[str, float]]:
    """Draws per case with one generator for all its channels, an empty list without foreground."""
    drawn: list[list[Any]] = [[] for _ in cases[0]]
    for case in cases:
        random = np.random.RandomState(1234)
        for channel, values in enumerate(case):
            as_float = values.astype(np.float32)
            drawn[channel].append(random.choice(as_float, samples) if len(values) else [])
    return [_by_numpy(np.concatenate(parts)) for parts in drawn]


def _ours(cases: list[list[NDArray[Any]]], samples: int) -> list[dict[str, float]]:
    kept = [case_intensities(case, samples) for case in cases]
    with ThreadPoolExecutor(2) as threads:
        return list(intensity_properties(kept, samples, threads).values())


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 65_536, 65_537, 200_001, 1_234_567])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_statistics_are_numpy_s_to_the_last_bit(count: int, precision: type) -> None:
    values = np.random.default_rng(count).gamma(2, 300, count).astype(np.float32)
    assert statistics(values, precision) == _by_numpy(values.astype(precision))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_draws_and_statistics_are_nnunet_s_for_any_data_type(dtype: DTypeLike) -> None:
    random = np.random.default_rng(1)
    cases = [
        [(random.random(voxels) * 250).astype(dtype) for _ in range(3)]
        for voxels in (5, 300, 20_000, 900_001)
    ]
    assert _ours(cases, 70_000) == _as_nnunet_does(cases, 70_000)


def test_cases_of_different_data_types_go_together() -> None:
    random = np.random.default_rng(2)
    cases = [
        [random.normal(0, 90, 4000).astype(dtype)] for dtype in (np.int16, np.float32, np.int8)
    ]
    assert _ours(cases, 10_000) == _as_nnunet_does(cases, 10_000)


def test_a_case_without_foreground_makes_nnunet_compute_in_double_precision() -> None:
    random = np.random.default_rng(3)
    cases = [[random.gamma(2, 300, size).astype(np.float32)] for size in (3000, 0, 5000)]
    assert _ours(cases, 40_000) == _as_nnunet_does(cases, 40_000)


def test_without_any_foreground_there_are_no_numbers() -> None:
    properties = _ours([[np.empty(0, np.int16)] * 2] * 3, 100)
    assert len(properties) == 2
    assert all(np.isnan(value) for channel in properties for value in channel.values())


@given(
    seed=st.integers(0, 2**32 - 1),
    bound=st.integers(1, 70_000) | st.sampled_from([2**20, 2**20 + 1, 2**31, 2**32]),
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=4),
)
def test_draws_are_those_of_the_legacy_generator(seed: int, bound: int, lengths: list[int]) -> None:
    legacy = np.random.RandomState(seed)
    draws = Draws(seed, bound)
    for length in lengths:
        out = np.empty(length, dtype=np.int64)
        draws.choose_into(_Itself(), out)  # type: ignore[arg-type]
        assert np.array_equal(out, legacy.randint(0, bound, size=length, dtype=np.int64))


def test_blocks_of_draws_join_without_a_seam() -> None:
    values = np.random.default_rng(0).normal(size=3001).astype(np.float32)
    out = np.empty(300_000, dtype=np.float32)
    Draws(1234, len(values)).choose_into(values, out)
    assert np.array_equal(out, np.random.RandomState(1234).choice(values, 300_000, replace=True))


class _Itself:
    """Stands for an array of all integers."""

    def take(self, indices: np.ndarray) -> np.ndarray:
        return indices


def test_the_memory_of_many_cases_is_that_of_their_draws() -> None:
    cases = [[np.arange(64, dtype=np.int16) + case, np.ones(64, np.int16)] for case in range(2000)]
    kept = [case_intensities(case, 500) for case in cases]
    with ThreadPoolExecutor(2) as threads:
        intensity_properties(kept[:2], 500, threads)
        tracemalloc.start()
        intensity_properties(kept, 500, threads)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 60_000_000
