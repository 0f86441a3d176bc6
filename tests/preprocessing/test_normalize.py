"""Normalisation schemes on numbers that can be checked by hand, and in double precision."""

from typing import Any

import numpy as np
import pytest

from resenc_plans.datasets.fingerprint import IntensityProperties
from resenc_plans.errors import ConfigurationError, DatasetError, PreprocessingError
from resenc_plans.preprocessing import register_normalization
from resenc_plans.preprocessing.normalize import (
    NORMALIZATIONS,
    ct,
    find_normalization,
    rescale_to_0_1,
    rgb_to_0_1,
    unchanged,
    zscore,
)


def image(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


def properties(**changes: Any) -> IntensityProperties:
    values = {"max": 9.0, "mean": 4.0, "median": 4.0, "min": 0.0}
    values |= {"percentile_00_5": 1.0, "percentile_99_5": 7.0, "std": 2.0}
    return IntensityProperties(**(values | changes))


def test_zscore_has_zero_mean_and_unit_variance() -> None:
    np.testing.assert_allclose(
        zscore(image(1, 2, 3, 6), None).ravel(), (np.array([1, 2, 3, 6]) - 3) / 3.5**0.5, rtol=1e-6
    )


def test_zscore_with_a_mask_leaves_the_outside_alone() -> None:
    mask = np.array([[[True, True, False]]])

    np.testing.assert_allclose(zscore(image(2, 4, 0), mask).ravel(), [-1, 1, 0])


def test_zscore_of_a_large_image_is_exact() -> None:
    values = (1000 + np.random.default_rng(0).standard_normal((40, 50, 60))).astype(np.float32)
    expected = (values.astype(float) - values.mean(dtype=float)) / values.std(dtype=float)

    np.testing.assert_allclose(zscore(values, None), expected, atol=1e-3)


@pytest.mark.parametrize("mask", [None, np.array([[[True, True, False]]])])
def test_constant_image_has_no_zscore(mask: np.ndarray | None) -> None:
    with pytest.raises(DatasetError, match=r"has the value 0\.1"):
        zscore(image(0.1, 0.1, 0.1 if mask is None else 3), mask)


def test_ct_clips_and_scales_by_the_plans_statistics() -> None:
    np.testing.assert_allclose(
        ct(image(-1000, 4, 1000), None, properties()).ravel(), [-1.5, 0, 1.5]
    )


def test_ct_without_statistics_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="foreground_intensity_properties_per_channel"):
        ct(image(1, 2), None, None)
    with pytest.raises(ConfigurationError, match="not finite"):
        ct(image(1, 2), None, properties(mean=float("nan")))


def test_rescaling_spans_0_to_1() -> None:
    np.testing.assert_allclose(rescale_to_0_1(image(2, 4, 6)).ravel(), [0, 0.5, 1])
    np.testing.assert_allclose(rescale_to_0_1(image(7, 7)).ravel(), [0, 0])


def test_rgb_takes_bytes_only() -> None:
    np.testing.assert_allclose(rgb_to_0_1(image(0, 51, 255)).ravel(), [0, 0.2, 1])
    for value in (-1, 256):
        with pytest.raises(DatasetError, match="needs 0 to 255"):
            rgb_to_0_1(image(0, value))


def test_no_normalization_changes_nothing() -> None:
    np.testing.assert_array_equal(unchanged(image(1, 2)), image(1, 2))


def test_users_register_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resenc_plans.preprocessing.normalize.NORMALIZATIONS", dict(NORMALIZATIONS))
    with pytest.raises(ConfigurationError, match="none of nnU-Net's: CTNormalization"):
        find_normalization("Halved")

    register_normalization("Halved", unchanged)

    assert find_normalization("Halved") is unchanged
    with pytest.raises(PreprocessingError, match="already"):
        register_normalization("ZScoreNormalization", unchanged)
