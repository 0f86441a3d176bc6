"""How preprocessed cases are compared."""

from typing import Any

import numpy as np


def image_difference(ours: np.ndarray, theirs: np.ndarray) -> Any:
    """The largest difference of two images, as a share of the range of their channel."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    shares = [
        np.abs(one - other).max() / max(np.ptp(other), 1e-30)
        for one, other in zip(ours, theirs, strict=True)
    ]
    return max(shares)


def assert_same_properties(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """All properties equal, class locations to the last voxel, in the same layout."""
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        if key == "class_locations":
            assert list(ours[key]) == list(value)
            for label, locations in value.items():
                assert type(ours[key][label]) is type(locations)
                np.testing.assert_array_equal(ours[key][label], locations)
        elif key == "nibabel_stuff":
            for name, affine in value.items():
                np.testing.assert_allclose(ours[key][name], affine)
        else:
            assert ours[key] == value, key
