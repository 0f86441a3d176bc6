"""Labels from logits: equal to a direct computation in double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom

from resenc_plans.inference import export_labels

ISOTROPIC = (1.0, 1.0, 1.0)
COARSE = ((5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0))


def smooth_logits(seed, shape, dtype=np.float32):
    """Smooth random fields, one per head."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (5 * gaussian_filter(noise, (0, 1, 1, 1))).astype(dtype)


def resampled(logits, shape, axis=None):
    """Logits on the new grid, in double precision, rounded to their own type as nnU-Net does."""
    values = logits.astype(np.float64)
    for along in range(3):
        factors = [1.0, 1.0, 1.0, 1.0]
        factors[along + 1] = shape[along] / logits.shape[along + 1]
        if along == axis:
            at = (np.arange(shape[along]) + 0.5) * logits.shape[along + 1] / shape[along]
            values = np.take(values, np.floor(at).astype(int), axis=along + 1)
        else:
            values = zoom(values, factors, order=1, mode="nearest", grid_mode=True)
    return values.astype(logits.dtype).astype(np.float64)


def assert_same_where_clear(labels, values):
    """Equal wherever the largest logit leads by more than 1e-4 of the range."""
    expected = values.argmax(axis=0)
    if len(values) > 1:
        ordered = np.sort(values, axis=0)
        clear = ordered[-1] - ordered[-2] > 1e-4
    else:
        clear = np.ones(expected.shape, bool)
    np.testing.assert_array_equal(labels[clear], expected[clear])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    heads=st.integers(1, 6),
    before=st.tuples(*[st.integers(1, 12)] * 3),
    after=st.tuples(*[st.integers(1, 16)] * 3),
    axis=st.sampled_from([None, 0, 1, 2]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_labels_are_the_arg_max_of_resampled_logits(seed, heads, before, after, axis, dtype):
    logits = smooth_logits(seed, (heads, *before), dtype)
    spacing = ISOTROPIC if axis is None else COARSE[axis]
    labels = export_labels(logits, after, spacing=spacing, new_spacing=spacing)
    assert labels.shape == after
    assert labels.dtype == np.uint8
    assert_same_where_clear(labels, resampled(logits, after, axis))


def test_regions_paint_their_labels_later_ones_over_earlier():
    logits = smooth_logits(1, (3, 9, 10, 11))
    labels = export_labels(
        logits, (12, 8, 15), spacing=ISOTROPIC, new_spacing=ISOTROPIC, regions=(3, 1, 2)
    )
    expected = np.zeros((12, 8, 15), int)
    values = resampled(logits, (12, 8, 15))
    for value, label in zip(values, (3, 1, 2), strict=True):
        expected[value > 0] = label
    clear = (np.abs(values) > 1e-5).all(axis=0)
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_of_equal_logits_the_first_wins():
    logits = np.zeros((4, 5, 6, 7), np.float16)
    assert not export_labels(logits, (5, 6, 7), spacing=ISOTROPIC, new_spacing=ISOTROPIC).any()
    assert not export_labels(logits, (8, 3, 9), spacing=ISOTROPIC, new_spacing=ISOTROPIC).any()


def test_a_wrong_number_of_regions_is_refused():
    with pytest.raises(ValueError, match="3 heads, but 2 regions"):
        export_labels(
            np.zeros((3, 2, 2, 2), np.float32),
            (2, 2, 2),
            spacing=ISOTROPIC,
            new_spacing=ISOTROPIC,
            regions=(1, 2),
        )
