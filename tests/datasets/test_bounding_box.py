import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, find_objects

from resenc_plans.datasets.bounding_box import nonzero_box

volumes = arrays(
    np.int8,
    array_shapes(min_dims=4, max_dims=4, max_side=7),
    elements=st.integers(0, 1),
    fill=st.just(0),
)


@given(volumes)
def test_it_is_the_box_of_the_filled_mask_of_all_channels(channels: NDArray[np.int8]) -> None:
    filled = binary_fill_holes((channels != 0).any(axis=0))
    found = find_objects(filled.astype(int))
    whole = tuple(slice(0, size) for size in channels.shape[1:])
    assert nonzero_box(list(channels)) == (found[0] if found else whole)


def test_margins_wider_than_a_strip_are_found() -> None:
    volume = np.zeros((40, 50, 60), dtype=np.float32)
    volume[33, 17:20, 55] = np.nan
    assert nonzero_box([volume]) == (slice(33, 34), slice(17, 20), slice(55, 56))
