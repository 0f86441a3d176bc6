from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from resenc_plans.datasets.quantiles import Precision, linear_quantiles

QUANTILES = (0.005, 0.5, 0.995)

small = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)) | arrays(
    np.int16, st.integers(1, 60), elements=st.integers(-3, 3)
)


@given(small, st.sampled_from([np.float32, np.float64]))
def test_they_are_numpy_s(values: NDArray[Any], precision: Precision) -> None:
    expected = np.percentile(values.astype(precision), np.array(QUANTILES) * 100)
    assert linear_quantiles(values, QUANTILES, precision) == expected.tolist()


@pytest.mark.parametrize("kind", ["even", "skewed", "constant", "two values", "sorted", "few high"])
def test_they_are_numpy_s_for_long_arrays_of_any_shape(kind: str) -> None:
    random = np.random.default_rng(7)
    arrays: dict[str, np.ndarray] = {
        "even": random.random(700_000, dtype=np.float32),
        "skewed": random.gamma(0.3, 1000, 700_000).astype(np.int16),
        "constant": np.full(700_000, 3, np.uint8),
        "two values": (random.random(700_000) < 0.5).astype(np.uint8),
        "sorted": np.sort(random.normal(size=700_000)).astype(np.float32),
        "few high": (random.random(700_000) > 0.995).astype(np.float32),
    }
    values = arrays[kind]
    expected = np.percentile(values.astype(np.float32), np.array(QUANTILES) * 100)
    assert linear_quantiles(values, QUANTILES) == expected.tolist()


def test_a_sample_that_misleads_costs_time_and_not_correctness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resenc_plans.datasets.quantiles._SAMPLE", 4)
    values = np.zeros(100_000, dtype=np.float32)
    values[1::2] = np.arange(50_000)
    expected = np.percentile(values, np.array(QUANTILES) * 100)
    assert linear_quantiles(values, QUANTILES) == expected.tolist()
