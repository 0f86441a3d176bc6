"""What lies outside the nonzero region, against scipy's filling of holes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

from resenc_plans.preprocessing import crop as module
from resenc_plans.preprocessing.crop import crop, mark_outside, nonzero_bounds

lengths = st.integers(1, 10)


@pytest.mark.parametrize("share_of_few", [1, 10**9], ids=["by growing", "by regions"])
def test_outside_is_what_filling_holes_leaves(
    monkeypatch: pytest.MonkeyPatch, share_of_few: int
) -> None:
    monkeypatch.setattr(module, "SHARE_OF_FEW", share_of_few)

    @settings(deadline=None, max_examples=60)
    @given(
        shape=st.tuples(lengths, lengths, lengths),
        share=st.floats(0.3, 0.95),
        seed=st.integers(0, 99),
    )
    def holds(shape: tuple[int, ...], share: float, seed: int) -> None:
        random = np.random.default_rng(seed)
        nonzero = random.random(shape) < share
        nonzero[0, 0, 0] = True
        images = np.stack([nonzero, nonzero & (random.random(shape) < 0.5)]).astype(np.float32)

        bounds = nonzero_bounds(images)
        cropped = crop(images, bounds)
        labels = random.integers(0, 2, cropped.shape[1:]).astype(np.int8)
        marked = labels.copy()
        mark_outside(marked, cropped)

        inside = crop(binary_fill_holes(nonzero)[None], bounds)[0]
        np.testing.assert_array_equal(marked, np.where((labels == 0) & ~inside, -1, labels))

    holds()


def test_bounds_are_half_open_ranges() -> None:
    images = np.zeros((1, 5, 6, 7))
    images[0, 1:3, 2, 4:] = 1

    assert nonzero_bounds(images) == [[1, 3], [2, 3], [4, 7]]


def test_image_of_zeros_is_not_cropped() -> None:
    assert nonzero_bounds(np.zeros((2, 3, 4, 5))) == [[0, 3], [0, 4], [0, 5]]
