"""Resampling against the definition: scipy's splines in double precision, label by label."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom

from resenc_plans.errors import PreprocessingError
from resenc_plans.preprocessing.resampling.resample import (
    coarse_axis,
    resample_image,
    resample_labels,
    resampled_shape,
    scratch_bytes,
)

ISOTROPIC = (1.0, 1.0, 1.0)
COARSE_Z = (5.0, 1.0, 1.0)

lengths = st.integers(1, 24)
shapes = st.tuples(lengths, lengths, lengths)


def volume(shape: tuple[int, ...], seed: int = 0, offset: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (offset + random.standard_normal((1, *shape))).astype(np.float32)


def blobs(shape: tuple[int, ...], labels: int = 3, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.digitize(noise, np.quantile(noise, np.linspace(0, 1, labels + 1)[1:-1]))[None] - 1


def by_definition(array: np.ndarray, shape: tuple[int, ...], order: Any) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    zoomed = zoom(array.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(zoomed, array.min(), array.max())


def labels_by_threshold(labels: np.ndarray, shape: tuple[int, ...], order: int = 1) -> np.ndarray:
    result = np.zeros(shape, labels.dtype)
    for label in np.unique(labels):
        result[by_definition((labels == label).astype(float), shape, order) >= 0.5] = label
    return result


@settings(deadline=None, max_examples=60)
@given(shape=shapes, new_shape=shapes, order=st.sampled_from((0, 1, 3)), seed=st.integers(0, 9))
def test_image_equals_splines_in_double_precision(
    shape: tuple[int, ...], new_shape: tuple[int, ...], order: int, seed: int
) -> None:
    image = volume(shape, seed)

    result = resample_image(image, new_shape, spacing=ISOTROPIC, new_spacing=ISOTROPIC, order=order)

    expected = by_definition(image[0], new_shape, order)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0], expected, atol=1e-5 * max(np.ptp(image), 1))


@settings(deadline=None, max_examples=40)
@given(shape=shapes, new_shape=shapes, order_z=st.sampled_from((0, 1)), axis=st.integers(0, 2))
def test_coarse_axis_is_resampled_apart(
    shape: tuple[int, ...], new_shape: tuple[int, ...], order_z: int, axis: int
) -> None:
    image = volume(shape)
    spacing = tuple(5.0 if a == axis else 1.0 for a in range(3))

    result = resample_image(
        image, new_shape, spacing=spacing, new_spacing=ISOTROPIC, order_z=order_z
    )

    planes = np.moveaxis(image[0], axis, 0)
    plane_shape = tuple(n for a, n in enumerate(new_shape) if a != axis)
    stack = np.stack([by_definition(plane, plane_shape, 3) for plane in planes])
    factors = (new_shape[axis] / len(stack), 1, 1)
    expected = zoom(stack, factors, order=1 if order_z else 0, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(np.moveaxis(result[0], axis, 0), expected, atol=1e-5 * 8)


@settings(deadline=None, max_examples=60)
@given(shape=shapes, new_shape=shapes, labels=st.integers(1, 6), seed=st.integers(0, 9))
def test_labels_equal_thresholded_indicators_with_ties(
    shape: tuple[int, ...], new_shape: tuple[int, ...], labels: int, seed: int
) -> None:
    segmentation = blobs(shape, labels, seed)

    result = resample_labels(segmentation, new_shape, spacing=ISOTROPIC, new_spacing=ISOTROPIC)

    np.testing.assert_array_equal(result[0], labels_by_threshold(segmentation[0], new_shape))


@pytest.mark.parametrize("order", [0, 3])
def test_labels_of_other_orders_equal_thresholded_indicators(order: int) -> None:
    segmentation = blobs((9, 12, 10), 4)
    settings: dict[str, Any] = {"spacing": ISOTROPIC, "new_spacing": ISOTROPIC, "order": order}

    result = resample_labels(segmentation, (13, 7, 15), **settings)

    if order == 0:
        expected = by_definition(segmentation[0], (13, 7, 15), 0)
    else:
        expected = labels_by_threshold(segmentation[0], (13, 7, 15), order)
    np.testing.assert_array_equal(result[0], expected)


def test_argmax_leaves_no_voxel_without_a_label() -> None:
    four = np.array([[[[1, 2], [3, 4]]]])
    shape = (1, 1, 1)
    spacings: dict[str, Any] = {"spacing": ISOTROPIC, "new_spacing": ISOTROPIC}

    assert resample_labels(four, shape, rule="threshold", **spacings).item() == 0
    assert resample_labels(four, shape, rule="argmax", **spacings).item() == 4


@settings(deadline=None, max_examples=20)
@given(shape=shapes, new_shape=shapes, dtype=st.sampled_from(("u1", "i2", "f4", "f8")))
def test_labels_keep_their_dtype_and_values(
    shape: tuple[int, ...], new_shape: tuple[int, ...], dtype: str
) -> None:
    segmentation = (blobs(shape) + 1).astype(dtype)

    result = resample_labels(
        segmentation, new_shape, spacing=COARSE_Z, new_spacing=ISOTROPIC, rule="argmax"
    )

    assert result.dtype == segmentation.dtype
    assert set(np.unique(result)) <= set(np.unique(segmentation))


def test_same_shape_is_returned_as_it_is() -> None:
    image = volume((4, 5, 6))

    assert resample_image(image, (4, 5, 6), spacing=ISOTROPIC, new_spacing=COARSE_Z) is image


def test_views_are_resampled_like_contiguous_arrays() -> None:
    image = volume((12, 14, 16)).transpose(0, 3, 1, 2)[:, 2:, :, ::2]
    spacings: dict[str, Any] = {"spacing": ISOTROPIC, "new_spacing": ISOTROPIC}

    result = resample_image(image, (9, 20, 6), **spacings)

    expected = resample_image(np.ascontiguousarray(image), (9, 20, 6), **spacings)
    np.testing.assert_array_equal(result, expected)


def test_values_far_from_zero_keep_their_precision() -> None:
    image = volume((10, 11, 12), offset=20_000)

    result = resample_image(image, (15, 8, 14), spacing=ISOTROPIC, new_spacing=ISOTROPIC)

    difference = np.abs(result[0] - by_definition(image[0], (15, 8, 14), 3)).max()
    assert difference <= 2 * np.spacing(np.float32(20_000))


def test_fractional_labels_are_refused() -> None:
    with pytest.raises(PreprocessingError, match="whole numbers"):
        resample_labels(volume((3, 3, 3)), (4, 4, 4), spacing=ISOTROPIC, new_spacing=ISOTROPIC)


def test_two_axes_that_share_the_largest_spacing_are_not_coarse() -> None:
    assert coarse_axis((0.24, 1.25, 1.25), ISOTROPIC) is None
    assert coarse_axis(ISOTROPIC, (1.0, 1.0, 4.0)) == 2
    assert coarse_axis(ISOTROPIC, (1.0, 1.0, 3.0)) is None
    assert coarse_axis((1.0, 1.2, 1.0), ISOTROPIC, separate_z=True) == 1
    assert coarse_axis(COARSE_Z, ISOTROPIC, separate_z=False) is None


def test_shape_is_rounded_half_to_even() -> None:
    assert resampled_shape((5, 5, 7), (1.0, 1.0, 1.0), (2.0, 10.0, 2.0)) == (2, 0, 4)


def test_scratch_is_a_window_and_not_a_volume() -> None:
    assert scratch_bytes((1000, 512, 512), (1000, 512, 512)) < 4 * 1000 * 512 * 512 / 5
