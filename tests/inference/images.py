"""Random images, in memory and as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK


def write_image(path: Path, array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
    """Write an array (z, y, x) as fp32, with an origin that is not zero."""
    image = SimpleITK.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((3.0, -4.0, 5.5))
    SimpleITK.WriteImage(image, str(path))


def noise(seed: int = 0, shape: Sequence[int] = (12, 14, 16)) -> np.ndarray:
    """Normally distributed values."""
    return np.random.default_rng(seed).normal(size=shape)
