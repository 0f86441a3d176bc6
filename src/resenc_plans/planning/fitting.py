"""Shrink a patch until its network fits the memory target, then fill the batch.

The method is nnU-Net's (get_plans_for_configuration): begin with a patch of the spacing's aspect
and 256^3 voxels (2048^2 in 2D), no larger than the median image. While the network's feature maps
at a batch of two (in 2D, of the preset's `batch_size_2d`) exceed the preset's reference, shorten
the axis that covers most of the image. Then choose the batch size that the reference leaves room
for, up to the share of the dataset that one batch may cover.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from resenc_plans.cost.feature_maps import UNetShape, count_feature_maps
from resenc_plans.errors import PlanningError
from resenc_plans.planning.presets import Preset
from resenc_plans.plans.topology import BASE_FEATURES, MAX_FEATURES, Topology, topology

MIN_BATCH_SIZE = 2
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
class Fit:
    """A network that fits, and what limited its patch and its batch."""

    topology: Topology
    shape: UNetShape
    batch_size: int
    patch_limit: PatchLimit
    batch_limit: BatchLimit
    dataset_share: float


def fit(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    dataset_voxels: float,
    budget: Budget,
    counts: dict[object, int],
) -> Fit:
    """The network for images of `median_shape` (voxels) at `spacing` (mm).

    `dataset_voxels` are the voxels of all cases together at this spacing. `counts` remembers
    feature-map counts between calls.

    Raises
    ------
    PlanningError
        No patch is small enough for the memory target.
    """
    dim = len(spacing)
    reference = budget.reference_count(dim)
    reference_batch = REFERENCE_BATCH_SIZE[dim]
    needed_batch = budget.preset.batch_size_2d if dim == 2 else MIN_BATCH_SIZE
    wanted = initial_patch(spacing)
    is_image = all(limit <= size for size, limit in zip(wanted, median_shape, strict=True))
    patch_limit: PatchLimit = "image size" if is_image else "initial size"
    initial = [min(size, limit) for size, limit in zip(wanted, median_shape, strict=True)]
    found = topology(spacing, initial)
    shape, count = _count(found, budget, counts)
    while _exceeds(count, reference, reference_batch, needed_batch):
        patch_limit = "memory"
        found = shortened(found, spacing, median_shape, budget.gpu_memory_gb)
        shape, count = _count(found, budget, counts)
    by_memory = round(reference / count * reference_batch)
    patch_voxels = float(prod(found.patch_size))
    by_cap = round(dataset_voxels * budget.batch_cap / patch_voxels)
    batch_size = max(min(by_memory, by_cap), MIN_BATCH_SIZE)
    if batch_size > min(by_memory, by_cap) or by_memory == MIN_BATCH_SIZE:
        batch_limit: BatchLimit = "minimum"
    else:
        batch_limit = "memory" if by_memory <= by_cap else "cap"
    share = batch_size * patch_voxels / dataset_voxels if dataset_voxels else float("inf")
    return Fit(found, shape, batch_size, patch_limit, batch_limit, share)


def shape_of(found: Topology, preset: Preset) -> UNetShape:
    """The network that a preset makes of a topology."""
    dim, stages = len(found.patch_size), found.n_stages
    return UNetShape(
        kind=preset.network,
        strides=found.strides,
        features=tuple(min(MAX_FEATURES[dim], BASE_FEATURES * 2**s) for s in range(stages)),
        blocks=preset.blocks_of(stages),
        decoder_convs=(preset.decoder_convs,) * (stages - 1),
    )


def initial_patch(spacing: Sequence[float]) -> list[int]:
    """A patch of the spacing's aspect: as many mm along each axis."""
    import numpy as np

    dim = len(spacing)
    inverse = 1 / np.array(spacing)
    volume = INITIAL_PATCH_EDGE[dim] ** dim
    return [round(edge) for edge in inverse * (volume / np.prod(inverse)) ** (1 / dim)]


def _exceeds(count: int, reference: float, reference_batch: int, batch: int) -> bool:
    """Whether `batch` samples need more than the reference, which is for `reference_batch`."""
    if batch == reference_batch:
        return count > reference
    return count / reference_batch * batch > reference


def shortened(
    found: Topology,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    gpu_memory_gb: float,
) -> Topology:
    """The topology of the next smaller patch.

    The axis that covers most of the image is shortened by its divisor, or by the divisor that a
    patch shortened so would have, which may be smaller and so skip fewer sizes.
    """
    import numpy as np

    patch = list(found.patch_size)
    coverage = [size / limit for size, limit in zip(patch, median_shape, strict=True)]
    axis = int(np.argsort(coverage)[-1])
    shorter = list(patch)
    shorter[axis] -= found.divisors[axis]
    candidate = topology(spacing, shorter)
    patch[axis] -= candidate.divisors[axis]
    if min(patch) >= 1:
        smaller = candidate if patch == shorter else topology(spacing, patch)
        if smaller.n_stages > 1:
            return smaller
    raise PlanningError(
        f"A GPU memory target of {gpu_memory_gb:g} GB is too small: a network with a patch "
        f"of {' x '.join(map(str, found.patch_size))} voxels exceeds it, and a smaller one has no "
        "second stage. Choose a larger target."
    )


def _count(found: Topology, budget: Budget, counts: dict[object, int]) -> tuple[UNetShape, int]:
    shape = shape_of(found, budget.preset)
    key = (found.patch_size, found.strides)
    if key not in counts:
        counts[key] = count_feature_maps(
            shape, found.patch_size, budget.output_heads, deep_supervision=False
        )
    return shape, counts[key]
