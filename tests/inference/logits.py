"""Logits for tests, and their labels by a direct computation in double precision."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy.ndimage import gaussian_filter, zoom

ISOTROPIC = (1.0, 1.0, 1.0)
COARSE = ((5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0))


def smooth_logits(seed: int, shape: tuple[int, ...], dtype: DTypeLike = np.float16) -> np.ndarray:
    """Smooth random fields, one per head."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (8 * gaussian_filter(noise, (0, 1, 1, 1))).astype(dtype)


def tied_logits(seed: int, shape: tuple[int, ...], dtype: DTypeLike = np.float16) -> Any:
    """Fields of few values, so that heads tie nearly everywhere."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(dtype)


def scattered_logits(
    seed: int, shape: tuple[int, ...], dtype: DTypeLike = np.float16
) -> np.ndarray:
    """A ball for each head but the first, somewhere; far away all but the first are very low."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape[1:]], indexing="ij"))
    logits = np.ones(shape)
    for head in logits[1:]:
        centre = np.array([random.uniform(0, n) for n in shape[1:]])
        head[...] = 8 - np.sqrt(((grid - centre[:, None, None, None]) ** 2).sum(axis=0))
    return logits.astype(dtype)


def seesaw_logits(seed: int, shape: tuple[int, ...], dtype: DTypeLike = np.float16) -> np.ndarray:
    """Two heads that win in turns, the others in between: largest nowhere but between voxels."""
    random = np.random.default_rng(seed)
    turns = (-1.0) ** np.indices(shape[1:]).sum(axis=0)
    logits = random.uniform(-0.2, 0.9, (shape[0], 1, 1, 1)) + random.normal(0, 0.01, shape)
    logits[0] += turns
    logits[-1] -= turns
    return logits.astype(dtype)


def resampled(logits: np.ndarray, shape: tuple[int, ...], axis: int | None = None) -> np.ndarray:
    """Logits on the new grid, in double precision, rounded to their own type as nnU-Net does."""
    if logits.shape[1:] == tuple(shape):
        return logits
    return np.stack([_resampled(head.astype(float), shape, axis) for head in logits]).astype(
        logits.dtype
    )


def _resampled(head: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    if axis is None:
        return _zoomed(head, shape)
    planes = np.moveaxis(head, axis, 0)
    plane_shape = [n for other, n in enumerate(shape) if other != axis]
    stack = np.stack([_zoomed(plane, plane_shape) for plane in planes])
    at = (np.arange(shape[axis]) + 0.5) * (len(planes) / shape[axis])
    return np.moveaxis(stack[np.floor(at).astype(int)], 0, axis)


def _zoomed(values: np.ndarray, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return zoom(values, factors, order=1, mode="nearest", grid_mode=True)
