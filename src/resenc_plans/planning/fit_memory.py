"""Fit networks to a GPU's memory by their estimated cost, instead of nnU-Net's proxy.

Experimental: nobody has published results with such plans. The steps are nnU-Net's (shorten the
patch until the smallest batch fits, then fill the batch); what is compared is the upper bound of
the memory that `estimate_cost` expects, loss and parameters included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

from resenc_plans.cost.calibration import PUBLISHED, Calibration
from resenc_plans.cost.estimate import MOST_HEADS
from resenc_plans.cost.layers import UNetLayers, unet_layers
from resenc_plans.cost.loss_memory import LossKind
from resenc_plans.cost.training_step import simulate_training_step
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.planning.configuration import configuration_document
from resenc_plans.planning.fitting import (
    MIN_BATCH_SIZE,
    BatchLimit,
    Budget,
    Fit,
    PatchLimit,
    initial_patch,
    shape_of,
    shortened,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.topology import Topology, topology


@dataclass(frozen=True)
class MemoryFit:
    """What networks are fitted to: the memory of `budget`, and the dataset's channels and heads."""

    budget: Budget
    input_channels: int
    output_heads: int
    regions: bool
    calibration: Calibration = PUBLISHED
    _peaks: dict[object, int] = field(default_factory=dict, compare=False, repr=False)
    _layers: dict[object, UNetLayers] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def for_dataset(cls, budget: Budget, dataset: DatasetJson) -> Self:
        """With the channels and labels of a dataset."""
        labels = Labels.from_dataset(dataset)
        return cls(budget, len(dataset.channel_names), labels.num_heads, labels.has_regions)

    def room(self, dim: int) -> float:
        """Bytes that a training step may take at its peak, for images of 2 or 3 axes."""
        is_alike = dim == 3 and self.output_heads <= MOST_HEADS
        return self.calibration.bytes_within(self.budget.gpu_memory_gb, is_alike=is_alike)

    def peak_bytes(self, found: Topology, batch_size: int) -> int:
        """Peak bytes of a training step."""
        network = (found.patch_size, found.strides)
        if network not in self._layers:
            self._layers[network] = self._network(found)
        key = (*network, batch_size)
        if key not in self._peaks:
            loss: LossKind = "binary cross-entropy" if self.regions else "cross-entropy"
            step = simulate_training_step(self._layers[network], batch_size, loss)
            self._peaks[key] = step.peak_bytes
        return self._peaks[key]

    def provenance(self) -> dict[str, Any]:
        """What the plans' provenance says about the fit."""
        return {
            "fit": "upper bound of the estimated GPU memory (experimental)",
            "calibration": self.calibration.name,
        }

    def _network(self, found: Topology) -> UNetLayers:
        shape = shape_of(found, self.budget.preset)
        candidate = Fit(found, shape, MIN_BATCH_SIZE, "memory", "memory", 0.0)
        dim = len(found.patch_size)
        document = configuration_document(
            candidate,
            data_identifier="candidate",
            spacing=(1.0,) * dim,
            median_shape=found.patch_size,
            schemes=(),
            masks=(),
        )
        config = ResolvedConfiguration.model_validate(
            {**document, "name": "candidate", "batch_dice": False}
        )
        return unet_layers(config, self.input_channels, self.output_heads)


def fit_memory(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    dataset_voxels: float,
    memory: MemoryFit,
) -> Fit:
    """The network for images of `median_shape` (voxels) at `spacing` (mm); see `fitting.fit`.

    Raises
    ------
    PlanningError
        No patch is small enough for the memory.
    """
    budget, dim = memory.budget, len(spacing)
    room = memory.room(dim)
    needed_batch = budget.preset.batch_size_2d if dim == 2 else MIN_BATCH_SIZE
    wanted = initial_patch(spacing)
    is_image = all(limit <= size for size, limit in zip(wanted, median_shape, strict=True))
    patch_limit: PatchLimit = "image size" if is_image else "initial size"
    found = topology(
        spacing, [min(size, limit) for size, limit in zip(wanted, median_shape, strict=True)]
    )
    while memory.peak_bytes(found, needed_batch) > room:
        patch_limit = "memory"
        found = shortened(found, spacing, median_shape, budget.gpu_memory_gb)
    patch_voxels = float(prod(found.patch_size))
    by_cap = round(dataset_voxels * budget.batch_cap / patch_voxels)
    by_memory = _largest_batch(found, needed_batch, max(by_cap, needed_batch), room, memory)
    batch_size = max(min(by_memory, by_cap), MIN_BATCH_SIZE)
    if batch_size > by_cap or by_memory == MIN_BATCH_SIZE:
        batch_limit: BatchLimit = "minimum"
    else:
        batch_limit = "memory" if by_memory < by_cap else "cap"
    share = batch_size * patch_voxels / dataset_voxels if dataset_voxels else float("inf")
    return Fit(found, shape_of(found, budget.preset), batch_size, patch_limit, batch_limit, share)


def _largest_batch(found: Topology, fitting: int, most: int, room: float, memory: MemoryFit) -> int:
    """The largest batch within the room, up to `most`; `fitting` is known to be within."""
    too_large = most + 1
    while too_large - fitting > 1:
        batch = most if too_large > most else (fitting + too_large) // 2
        if memory.peak_bytes(found, batch) <= room:
            fitting = batch
        else:
            too_large = batch
    return fitting
