"""Transforms of intensities for many channels at once, on any device, waiting for nothing.

Each takes images (n, *patch), one per row of its tables, and returns as many. They compute what
batchgeneratorsv2's transforms do for one channel, whose parameters the tables hold.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

EPS = 1e-7
"""The smallest range and deviation that batchgeneratorsv2's gamma divides by."""

BatchedTransform = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


def blur(images: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
    """Blur each along its axes; beyond its edges an image is its own reflection."""
    kernels = tables["kernels"]
    radius = kernels.shape[-1] // 2
    for axis in range(1, images.ndim):
        length = images.shape[axis]
        if radius >= length:
            raise ValueError(f"An axis of {length} voxels is too short for a blur of {radius}.")
        before = images.narrow(axis, 1, radius).flip(axis)
        after = images.narrow(axis, length - 1 - radius, radius).flip(axis)
        padded = torch.cat([before, images, after], axis)
        images = torch.zeros_like(images)
        for offset in range(kernels.shape[-1]):
            weight = _per_row(kernels[:, axis - 1, offset], images)
            images.addcmul_(padded.narrow(axis, offset, length), weight)
    return images


def brightness(images: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
    """Multiply each by its factor."""
    return images * _per_row(tables["factor"], images)


def contrast(images: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
    """Multiply each one's differences to its mean; those that keep their range are cut to it."""
    axes = tuple(range(1, images.ndim))
    mean = images.mean(axes, keepdim=True)
    changed = (images - mean) * _per_row(tables["factor"], images) + mean
    within = changed.clamp(images.amin(axes, keepdim=True), images.amax(axes, keepdim=True))
    return torch.where(_per_row(tables["keeps_range"], images), within, changed)


def low_resolution(images: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
    """Take fewer voxels of each, and interpolate between them."""
    rows = torch.arange(len(images), device=images.device)[:, None]
    for axis in range(1, images.ndim):
        lower, upper = tables[f"lower{axis - 1}"], tables[f"upper{axis - 1}"]
        share = tables[f"share{axis - 1}"]
        along = images.movedim(axis, 1)
        share = share.reshape(*share.shape, *(1,) * (images.ndim - 2))
        images = torch.lerp(along[rows, lower], along[rows, upper], share).movedim(1, axis)
    return images


def gamma(images: Tensor, tables: Mapping[str, Tensor]) -> Tensor:
    """Raise each one's share of its range to a power; mean and deviation stay where so drawn."""
    axes = tuple(range(1, images.ndim))
    sign = torch.where(_per_row(tables["inverts"], images), -1.0, 1.0)
    images = images * sign
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    extent = high - low
    power = _per_row(tables["gamma"], images)
    changed = ((images - low) / extent.clamp(min=EPS)) ** power * extent + low
    deviation, mean = torch.std_mean(images, axes, keepdim=True)
    deviation_now, mean_now = torch.std_mean(changed, axes, keepdim=True)
    retained = (changed - mean_now) * (deviation / deviation_now.clamp(min=EPS)) + mean
    return torch.where(_per_row(tables["retains"], images), retained, changed) * sign


def _per_row(values: Tensor, images: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (images.ndim - 1))


BATCHED: dict[str, BatchedTransform] = {
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "low_resolution": low_resolution,
    "gamma": gamma,
}
"""By the kind of a `DrawnStep`; noise is drawn where it is added."""
