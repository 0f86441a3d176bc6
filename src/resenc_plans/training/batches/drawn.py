"""Samples whose augmentation is drawn but not done: what is read, and all random numbers.

The numbers come from the generators that make whole samples on the CPU, in the same order, so both
ways of augmenting give the same sample. Only fields of noise are drawn where they are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform, _build_kernel
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch import Tensor
from torch.nn.functional import interpolate

Table = npt.NDArray[Any]

_BETWEEN = ("lower", "upper", "share")
MIRROR, NOISE = "mirror", "noise"
BLUR_TRUNCATE = 6
"""Standard deviations that batchgeneratorsv2's kernels are long."""


@dataclass(frozen=True)
class DrawnStep:
    """A transform that is to be applied to some channels of a sample.

    `tables` hold its numbers, a row per channel. Which there are depends on `kind`.
    """

    place: int
    """Its place among the transforms; steps of different samples at one place are done at once."""
    kind: str
    channels: Table
    tables: dict[str, Table]


@dataclass(frozen=True)
class DrawnSample:
    """Where a sample's voxels lie in the buffers of its batch, and what is to be done with them."""

    shape: tuple[int, ...]
    """Of the region that was read, without channels; that of the patch where there is no affine."""
    affine: tuple[tuple[float, ...], ...] | None
    """From voxels of the patch to voxels that were read, both from the middle; None: the same."""
    first: tuple[int, ...]
    """Where the region begins in what is read for a patch, on the axes of the affine."""
    steps: tuple[DrawnStep, ...]
    flips: tuple[int, ...]
    noise_seed: int


@dataclass(frozen=True)
class DrawnBatch:
    """Samples to be augmented; those of a cascade with the previous stage's labels.

    `images` and `labels` hold the regions of all samples one after the other, flat. `previous` is
    (b, *patch): 1 for the first foreground label, augmented already.
    """

    images: Tensor
    labels: Tensor
    previous: Tensor | None
    samples: tuple[DrawnSample, ...]
    cases: tuple[str, ...]


def is_batched(transform: BasicTransform) -> bool:
    """Whether a transform can be drawn here and done elsewhere, for many samples at once."""
    return type(_inner(transform)) in _KINDS


def name_of(transform: BasicTransform) -> str:
    """The class of a transform, be it applied always or at random."""
    return type(_inner(transform)).__name__


def done_before(transforms: Sequence[BasicTransform]) -> int:
    """How many of the transforms must be done on the CPU: all up to the last without a table.

    >>> done_before([])
    0
    """
    return max(
        (place + 1 for place, transform in enumerate(transforms) if not is_batched(transform)),
        default=0,
    )


def draw_steps(
    transforms: Sequence[BasicTransform], channels: int, patch_size: Sequence[int]
) -> tuple[tuple[DrawnStep, ...], tuple[int, ...]]:
    """The steps for a sample of so many channels, and the axes along which it is mirrored last.

    All transforms must be batched (`is_batched`), and the mirroring the last of them.
    """
    image = torch.empty(1).expand(channels, *patch_size)
    steps, flips = [], tuple[int, ...]()
    for place, transform in enumerate(transforms):
        is_random = isinstance(transform, RandomTransform)
        if is_random and not transform.get_parameters()["apply_transform"]:
            continue
        inner = _inner(transform)
        drawn = inner.get_parameters(image=image)
        kind = _KINDS[type(inner)]
        if kind == MIRROR:
            flips = tuple(drawn["axes"])
            continue
        rows, tables = _TABLES[kind](inner, drawn, tuple(patch_size))
        if len(rows):
            steps.append(DrawnStep(place, kind, rows, tables))
    return tuple(steps), flips


def _inner(transform: BasicTransform) -> BasicTransform:
    return transform.transform if isinstance(transform, RandomTransform) else transform


def _noise(
    _: GaussianNoiseTransform, drawn: dict[str, Any], patch_size: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    rows = drawn["apply_idx"].numpy()
    if len(rows):
        # The field is drawn elsewhere; here its numbers are skipped.
        torch.empty((len(rows), *patch_size)).normal_()
    return rows, {"deviation": np.broadcast_to(np.float32(drawn["sigmas"] or 0), len(rows)).copy()}


def _blur(
    transform: GaussianBlurTransform, drawn: dict[str, Any], _: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    rows = drawn["apply_to_channel"].nonzero().flatten().numpy()
    sigmas = drawn["sigmas"]
    if transform.synchronize_channels:
        sigmas = [sigmas] * len(rows)
    kernels = [[_build_kernel(sigma, BLUR_TRUNCATE) for sigma in axes] for axes in sigmas]
    axes = len(kernels[0]) if kernels else 0
    longest = max((len(kernel) for of_row in kernels for kernel in of_row), default=1)
    table = np.zeros((len(rows), axes, longest), np.float32)
    for row, of_row in enumerate(kernels):
        for axis, kernel in enumerate(of_row):
            margin = (longest - len(kernel)) // 2
            table[row, axis, margin : margin + len(kernel)] = kernel
    return rows, {"kernels": table}


def _factors(
    _: MultiplicativeBrightnessTransform, drawn: dict[str, Any], __: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    rows = drawn["apply_to_channel"].numpy()
    return rows, {"factor": drawn["multipliers"].numpy()}


def _contrast(
    transform: ContrastTransform, drawn: dict[str, Any], _: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    rows = drawn["apply_to_channel"].numpy()
    if not len(rows):
        return rows, {}
    keeps_range = np.full(len(rows), transform.preserve_range)
    return rows, {"factor": drawn["multipliers"].numpy(), "keeps_range": keeps_range}


def _gamma(
    _: GammaTransform, drawn: dict[str, Any], __: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    rows = drawn["apply_to_channel"].numpy()
    if not len(rows):
        return rows, {}
    return rows, {
        "gamma": drawn["gamma"].numpy(),
        "inverts": drawn["invert_image"].numpy(),
        "retains": drawn["retain_stats"].numpy(),
    }


def _low_resolution(
    _: SimulateLowResolutionTransform, drawn: dict[str, Any], patch_size: tuple[int, ...]
) -> tuple[Table, dict[str, Table]]:
    """Per axis, the two voxels between which a voxel comes to lie, and its share of the second."""
    rows, scales = np.asarray(drawn["apply_to_channel"]), drawn["scales"].tolist()
    tables: dict[str, Table] = {}
    if not len(rows):
        return rows, tables
    for axis, length in enumerate(patch_size):
        of_rows = [_positions(length, round(length * scale[axis])) for scale in scales]
        for name, column in zip(_BETWEEN, zip(*of_rows, strict=True), strict=True):
            tables[f"{name}{axis}"] = np.stack(column)
    return rows, tables


def _positions(length: int, fewer: int) -> tuple[Table, Table, Table]:
    voxels = torch.arange(length, dtype=torch.float32)[None, None]
    taken = interpolate(voxels, fewer, mode="nearest-exact")[0, 0].long().numpy()
    places = torch.arange(fewer, dtype=torch.float64)[None, None]
    position = interpolate(places, length, mode="linear")[0, 0].numpy()
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, fewer - 1)
    return taken[lower], taken[upper], (position - lower).astype(np.float32)


_KINDS: dict[type, str] = {
    GaussianNoiseTransform: NOISE,
    GaussianBlurTransform: "blur",
    MultiplicativeBrightnessTransform: "brightness",
    ContrastTransform: "contrast",
    SimulateLowResolutionTransform: "low_resolution",
    GammaTransform: "gamma",
    MirrorTransform: MIRROR,
}
_TABLES: dict[str, Any] = {
    NOISE: _noise,
    "blur": _blur,
    "brightness": _factors,
    "contrast": _contrast,
    "low_resolution": _low_resolution,
    "gamma": _gamma,
}
