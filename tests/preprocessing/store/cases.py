"""Cases of random values to store."""

from collections.abc import Sequence

import numpy as np

from resenc_plans.preprocessing.case import StoredCase

PATCH = (16, 16, 16)


def case(shape: Sequence[int] = (2, 20, 30, 40), seed: int = 0) -> StoredCase:
    """A preprocessed case with an image of this shape (c, z, y, x)."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 3, (1, *shape[1:])).astype(np.int16)
    image = random.standard_normal(shape, dtype=np.float32)
    return StoredCase(image, labels, {"spacing": [1.0, 2.0, 3.0], "class_locations": {1: []}})
