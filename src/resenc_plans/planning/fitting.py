"""Shrink a patch until its network fits the memory target, then fill the batch.

The method is nnU-Net's (get_plans_for_configuration): begin with a patch of the spacing's aspect
and 256^3 voxels (2048^2 in 2D), no larger than the median image. While the smallest batch (in 2D,
the preset's `batch_size_2d`) does not fit, shorten the axis that covers most of the image. Then
choose the largest batch that fits, up to the share of the dataset that one batch may cover.

What fits is told by a yardstick: nnU-Net's count of feature maps (`FeatureMapCount`), or the
estimated memory (`estimated_memory.EstimatedMemory`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Literal, Protocol

from resenc_plans.cost.feature_maps import count_feature_maps
from resenc_plans.errors import PlanningError
from resenc_plans.planning.presets import Preset
from resenc_plans.plans.topology import (
    BASE_FEATURES,
    MIN_BATCH_SIZE,
    TOP_FEATURES,
    padded,
    strides_and_kernels,
)
from resenc_plans.plans.unet import UNet, planned_operators

REFERENCE_BATCH_SIZE = {2: 12, 3: 2}
INITIAL_PATCH_EDGE = {2: 2048, 3: 256}

PatchLimit = Literal["memory", "image size", "initial size"]
BatchLimit = Literal["memory", "minimum", "cap"]


@dataclass(frozen=True)
class Budget:
    """What networks are fitted to: the preset, its memory target, and the dataset's demands."""

    preset: Preset
    gpu_memory_gb: float
    batch_cap: float
    output_heads: int

    def reference_count(self, dim: int) -> float:
        """Feature maps that fit the target at the reference batch size, for 2 or 3 axes."""
        count = self.preset.reference_count_2d if dim == 2 else self.preset.reference_count_3d
        return count * (self.gpu_memory_gb / self.preset.reference_gb)


@dataclass(frozen=True)
class Candidate:
    """A network and the patch size (voxels) that it is planned for."""

    unet: UNet
    patch_size: tuple[int, ...]


@dataclass(frozen=True)
class FittedNetwork:
    """A network that fits, and what limited its patch and its batch.

    `dataset_share` is the share of the dataset's voxels that one batch covers.
    """

    unet: UNet
    patch_size: tuple[int, ...]
    batch_size: int
    patch_limit: PatchLimit
    batch_limit: BatchLimit
    dataset_share: float


class Yardstick(Protocol):
    """Says which networks fit the memory."""

    def fits(self, candidate: Candidate, batch_size: int) -> bool:
        """Whether a training step on so many samples fits."""

    def largest_batch(self, candidate: Candidate, limit: int) -> int:
        """The largest batch that fits, or `limit` if that fits too."""


@dataclass(frozen=True)
class FeatureMapCount:
    """nnU-Net's yardstick: the values that a network's convolutions put out.

    They may be as many as the preset's reference at the reference batch size, scaled with the
    memory target.
    """

    budget: Budget
    _counts: dict[object, int] = field(default_factory=dict, compare=False, repr=False)

    def fits(self, candidate: Candidate, batch_size: int) -> bool:
        """Whether a training step on so many samples stays within the reference."""
        dim = candidate.unet.dim
        count, reference_batch = self._count(candidate), REFERENCE_BATCH_SIZE[dim]
        needed = count if batch_size == reference_batch else count / reference_batch * batch_size
        return needed <= self.budget.reference_count(dim)

    def largest_batch(self, candidate: Candidate, limit: int) -> int:
        """The batch that comes nearest to the reference, or `limit`."""
        dim = candidate.unet.dim
        ratio = self.budget.reference_count(dim) / self._count(candidate)
        return min(round(ratio * REFERENCE_BATCH_SIZE[dim]), limit)

    def _count(self, candidate: Candidate) -> int:
        key = candidate.patch_size, candidate.unet.strides
        if key not in self._counts:
            self._counts[key] = count_feature_maps(
                candidate.unet,
                candidate.patch_size,
                self.budget.output_heads,
                deep_supervision=False,
            )
        return self._counts[key]


def fit(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    dataset_voxels: float,
    budget: Budget,
    yardstick: Yardstick,
) -> FittedNetwork:
    """The network for images of `median_shape` (voxels) at `spacing` (mm).

    Parameters
    ----------
    spacing, median_shape
        Of the images, in mm and voxels per axis, in the plans' axis order.
    dataset_voxels
        Voxels of all cases together at this spacing.
    budget
        The preset and the share of the dataset that one batch may cover.
    yardstick
        What tells whether a network fits.

    Raises
    ------
    PlanningError
        No patch is small enough for the memory target, or an axis has no voxel.
    """
    preset = budget.preset
    smallest_batch = preset.batch_size_2d if len(spacing) == 2 else MIN_BATCH_SIZE
    initial = initial_patch(spacing)
    is_image = all(limit <= size for size, limit in zip(initial, median_shape, strict=True))
    patch_limit: PatchLimit = "image size" if is_image else "initial size"
    start = [min(size, limit) for size, limit in zip(initial, median_shape, strict=True)]
    if min(start) <= 0:
        raise PlanningError(
            f"At a spacing of {' x '.join(f'{size:g}' for size in spacing)} mm, images of "
            f"{' x '.join(f'{size:g}' for size in median_shape)} voxels leave an axis without a "
            "voxel. Give another target spacing, or correct the spacing in the images' headers."
        )
    candidate = planned_network(spacing, start, preset)
    while not yardstick.fits(candidate, smallest_batch):
        patch_limit = "memory"
        candidate = _shortened(candidate, spacing, median_shape, budget)
    patch_voxels = float(prod(candidate.patch_size))
    by_cap = round(dataset_voxels * budget.batch_cap / patch_voxels)
    by_memory = yardstick.largest_batch(candidate, by_cap + 1)
    batch_size = max(min(by_memory, by_cap), MIN_BATCH_SIZE)
    if batch_size > min(by_memory, by_cap) or by_memory == MIN_BATCH_SIZE:
        batch_limit: BatchLimit = "minimum"
    else:
        batch_limit = "memory" if by_memory <= by_cap else "cap"
    share = batch_size * patch_voxels / dataset_voxels if dataset_voxels else float("inf")
    return FittedNetwork(
        unet=candidate.unet,
        patch_size=candidate.patch_size,
        batch_size=batch_size,
        patch_limit=patch_limit,
        batch_limit=batch_limit,
        dataset_share=share,
    )


def planned_network(
    spacing: Sequence[float], patch_size: Sequence[float], preset: Preset
) -> Candidate:
    """The network that a preset plans for a patch (voxels) at a spacing (mm)."""
    strides, kernel_sizes = strides_and_kernels(spacing, patch_size)
    dim, stages = len(spacing), len(strides)
    unet = UNet(
        kind=preset.network,
        strides=strides,
        kernel_sizes=kernel_sizes,
        features=_features(dim, stages),
        blocks=preset.blocks_of(stages),
        decoder_convolutions=(preset.decoder_convs,) * (stages - 1),
        operators=planned_operators(dim),
    )
    return Candidate(unet, padded(patch_size, unet.divisor))


@cache
def _features(dim: int, stages: int) -> tuple[int, ...]:
    return tuple(min(TOP_FEATURES[dim], BASE_FEATURES * 2**stage) for stage in range(stages))


def initial_patch(spacing: Sequence[float]) -> list[int]:
    """A patch of the spacing's aspect: as many mm along each axis."""
    import numpy as np

    dim = len(spacing)
    inverse = 1 / np.array(spacing)
    volume = INITIAL_PATCH_EDGE[dim] ** dim
    return [round(edge) for edge in inverse * (volume / np.prod(inverse)) ** (1 / dim)]


def _shortened(
    candidate: Candidate,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    budget: Budget,
) -> Candidate:
    """The network of the next smaller patch.

    The axis that covers most of the image (of equals the last) is shortened by its divisor, or by
    the divisor that a patch shortened so would have, which may be smaller and so skip fewer sizes.
    """
    patch = list(candidate.patch_size)
    coverage = [size / limit for size, limit in zip(patch, median_shape, strict=True)]
    axis = max(range(len(patch)), key=lambda axis: (coverage[axis], axis))
    shorter = list(patch)
    shorter[axis] -= candidate.unet.divisor[axis]
    smaller = planned_network(spacing, shorter, budget.preset)
    patch[axis] -= smaller.unet.divisor[axis]
    if min(patch) >= 1:
        if patch != shorter:
            smaller = planned_network(spacing, patch, budget.preset)
        if smaller.unet.n_stages > 1:
            return smaller
    raise PlanningError(
        f"A GPU memory target of {budget.gpu_memory_gb:g} GB is too small: a network with a patch "
        f"of {' x '.join(map(str, candidate.patch_size))} voxels exceeds it, and a smaller one has "
        "no second stage. Choose a larger target."
    )
