"""Logits of a whole image from a network that sees one patch at a time.

Tiling, weights, sums and their order are those of nnU-Net's predictor. It adds up in half
precision, which changes a logit by up to a few thousandths; single precision would be more exact,
but labels would differ. So half precision is the default here as well. Mirrored logits are added
up in what the network computes in on a GPU, and in float32 on a CPU, where nnU-Net has no other.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from resenc_plans.errors import PredictionError
from resenc_plans.inference.memory import zeros
from resenc_plans.networks.device import autocast_to

Tile = tuple[slice | int, ...]
"""An index into (z, y, x): three slices, or a plane's number and two slices for a 2D network."""
OnTile = Callable[[int, int], None]
"""Called with the number of tiles done and of all."""

SIGMA_PER_PATCH = 1 / 8
MAX_WEIGHT = 10.0
"""Larger than 1, so that the smallest weights are not lost in half precision."""


def tile_positions(length: int, patch: int, step_size: float) -> tuple[int, ...]:
    """Where tiles start along an axis (nnU-Net's `compute_steps_for_sliding_window`).

    Neighbours are at most `step_size` patches apart, all equally far but for rounding.

    >>> tile_positions(110, 64, 0.5)
    (0, 23, 46)

    Raises
    ------
    PredictionError
        The patch is longer than the axis, or the step size is not above 0 and at most 1.
    """
    if length < patch or not 0 < step_size <= 1:
        raise PredictionError(
            f"An axis of {length} voxels, a patch of {patch} and a step size of {step_size}: the "
            "patch must fit, and the step size lie above 0 and at most at 1."
        )
    last = length - patch
    steps = int(np.ceil(last / (patch * step_size)))
    return tuple(int(np.round(last / steps * i)) for i in range(steps + 1)) if steps else (0,)


def tiles(shape: Sequence[int], patch_size: Sequence[int], step_size: float = 0.5) -> list[Tile]:
    """All tiles of an image (z, y, x), x running fastest; a 2D patch is moved plane by plane."""
    planes = len(shape) - len(patch_size)
    starts = [
        tile_positions(length, patch, step_size)
        for length, patch in zip(shape[planes:], patch_size, strict=True)
    ]
    return [
        (*index[:planes], *map(slice, index[planes:], np.add(index[planes:], patch_size).tolist()))
        for index in itertools.product(*(range(length) for length in shape[:planes]), *starts)
    ]


@lru_cache(maxsize=4)
def importance(patch_size: tuple[int, ...], dtype: torch.dtype = torch.float16) -> Tensor:
    """The weight of each voxel of a patch: a Gaussian about its centre, 10 at most, never 0.

    nnU-Net's `compute_gaussian`, with a standard deviation of an eighth of the patch. Not to be
    written to.
    """
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros(patch_size)
    impulse[tuple(length // 2 for length in patch_size)] = 1
    sigmas = [length * SIGMA_PER_PATCH for length in patch_size]
    weights = gaussian_filter(impulse, sigmas, 0, mode="constant", cval=0)
    rounded = torch.from_numpy(weights / (weights.max() / MAX_WEIGHT)).to(dtype)
    rounded[rounded == 0] = rounded[rounded != 0].min()
    return rounded


def pad_to_patch(image: Tensor, patch_size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """An image (c, z, y, x) with zeros about it where it is smaller than the patch.

    Returns
    -------
    The padded image, and where in its z, y, x the image lies. Of an odd number of zeros the
    greater part is behind the image, as in `pad_nd_image` of nnU-Net's acvl_utils.
    """
    shape = image.shape[1:]
    min_shape = (*shape[: len(shape) - len(patch_size)], *patch_size)
    missing = [max(least - length, 0) for least, length in zip(min_shape, shape, strict=True)]
    inner = tuple(slice(m // 2, m // 2 + length) for m, length in zip(missing, shape, strict=True))
    if not any(missing):
        return image, inner
    widths = [width for m in reversed(missing) for width in (m // 2, m - m // 2)]
    return nn.functional.pad(image, widths), inner


def predict_mirrored(
    network: Callable[[Tensor], Tensor],
    patches: Tensor,
    mirror_axes: Sequence[int],
    dtype: torch.dtype | None = torch.float32,
) -> Tensor:
    """The mean of a network's logits over all combinations of mirrored axes.

    `patches` are (n, c, z, y, x) or (n, c, y, x); axis 0 of `mirror_axes` is the first spatial one.
    Logits are added up and divided in `dtype`, by default in float32; None is the network's own,
    as in nnU-Net's `_internal_maybe_mirror_and_predict`.
    A single patch goes through the network together with its mirror image: on one thread of a CPU,
    PyTorch convolves a batch of one by a routine that takes four times as long per patch.
    """
    axes = [axis + 2 for axis in mirror_axes]
    flips = [
        mirrored
        for count in range(len(axes) + 1)
        for mirrored in itertools.combinations(axes, count)
    ]
    at_once = 2 if len(patches) == 1 and patches.device.type == "cpu" else 1
    total: Tensor | None = None
    for start in range(0, len(flips), at_once):
        group = flips[start : start + at_once]
        stacked = torch.cat([torch.flip(patches, mirrored) for mirrored in group])
        if len(stacked) < at_once:
            stacked = stacked.expand(at_once, *stacked.shape[1:])
        logits = network(stacked)[: len(group) * len(patches)]
        if dtype is not None:
            logits = logits.to(dtype)
        for mirrored, part in zip(group, torch.chunk(logits, len(group)), strict=True):
            restored = torch.flip(part, mirrored)
            total = restored if total is None else total.add_(restored)
    assert total is not None
    return total.div_(2 ** len(axes))


@torch.no_grad()
def sliding_window_logits(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    patch_size: Sequence[int],
    heads: int,
    *,
    step_size: float = 0.5,
    mirror_axes: Sequence[int] = (),
    device: str | torch.device = "cpu",
    autocast: torch.dtype | None = None,
    tiles_per_batch: int = 1,
    sum_dtype: torch.dtype = torch.float16,
    sum_device: str | torch.device | None = None,
    on_tile: OnTile | None = None,
) -> Tensor:
    """Logits (heads, z, y, x) of a preprocessed image (c, z, y, x).

    Parameters
    ----------
    network
        On `device`, in evaluation mode, from patches (n, c, ...) to logits (n, heads, ...).
    image
        float32, on any device.
    patch_size
        Voxels, two for a network that takes planes.
    heads
        Outputs of the network.
    step_size
        Distance of neighbouring tiles in patches, above 0 and at most 1.
    mirror_axes
        Spatial axes of the patch to average over.
    device, autocast
        Where the network runs, and the type it computes in if that is not float32.
    tiles_per_batch
        Tiles that the network sees at once. The last batch is filled up with copies of its last
        tile, because cuDNN looks for the fastest algorithm again for each size of a batch.
    sum_dtype, sum_device
        Of the sums: float16, as in nnU-Net, on the device of the network by default. Sums that
        overflow float16 are computed again in float32; those too large for the host's memory are
        kept in a temporary file (see `memory.zeros`).
    on_tile
        Called after each batch.

    Returns
    -------
    `sum_dtype`, or float32 after an overflow, on the device of the sums.
    """
    device = torch.device(device)
    sum_device = device if sum_device is None else torch.device(sum_device)
    padded, inner = pad_to_patch(image.to(sum_device), patch_size)
    todo = tiles(padded.shape[1:], patch_size, step_size)

    def weighted_mean(dtype: torch.dtype) -> Tensor:
        weights = importance(tuple(patch_size), dtype).to(sum_device)
        total = zeros((heads, *padded.shape[1:]), dtype, sum_device)
        weight = torch.zeros(padded.shape[1:], dtype=dtype, device=sum_device)
        is_exact = device.type == "cpu" or dtype == torch.float32
        mirror_dtype = torch.float32 if is_exact else None
        done = 0
        with autocast_to(autocast, device):
            for batch in _batches(todo, tiles_per_batch):
                filled = [*batch, *[batch[-1]] * (tiles_per_batch - len(batch))]
                patches = torch.stack([padded[:, *tile] for tile in filled]).to(device)
                logits = predict_mirrored(network, patches, mirror_axes, mirror_dtype)
                logits = logits[: len(batch)].to(sum_device)
                logits *= weights
                for tile, values in zip(batch, logits, strict=True):
                    total[:, *tile] += values
                    weight[tile] += weights
                done += len(batch)
                if on_tile is not None:
                    on_tile(done, len(todo))
        total /= weight
        return total

    mean = weighted_mean(sum_dtype)
    if sum_dtype == torch.float16 and any(bool(torch.isinf(head).any()) for head in mean):
        del mean
        mean = weighted_mean(torch.float32)
    return mean[:, *inner]


def _batches(todo: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    for start in range(0, len(todo), size):
        yield todo[start : start + size]
