"""Fit networks to a GPU's memory by their estimated cost, instead of nnU-Net's proxy.

Experimental: nobody has published results with such plans. What is compared is the upper bound of
the memory that `estimate_cost` expects, loss and parameters included.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from resenc_plans.cost.calibration import PUBLISHED, Calibration
from resenc_plans.cost.estimate import MAX_FITTED_HEADS
from resenc_plans.cost.layers import SizedLayers, sized_layers
from resenc_plans.cost.loss_memory import LossKind
from resenc_plans.cost.training_step import simulate_training_step
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.planning.fitting import Candidate
from resenc_plans.plans.topology import MIN_BATCH_SIZE


@dataclass(frozen=True)
class EstimatedMemory:
    """A yardstick: the GPU memory that a training step is expected to take at most."""

    gpu_memory_gb: float
    input_channels: int
    output_heads: int
    regions: bool
    calibration: Calibration = PUBLISHED
    _peaks: dict[tuple[Candidate, int], int] = field(
        default_factory=dict, compare=False, repr=False
    )
    _layers: dict[Candidate, SizedLayers] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def for_dataset(cls, gpu_memory_gb: float, dataset: DatasetJson) -> Self:
        """With the channels and labels of a dataset."""
        labels = Labels.from_dataset(dataset)
        return cls(gpu_memory_gb, len(dataset.channel_names), labels.num_heads, labels.has_regions)

    def fits(self, candidate: Candidate, batch_size: int) -> bool:
        """Whether the upper bound of a training step's memory is within the GPU's."""
        is_alike = candidate.unet.dim == 3 and self.output_heads <= MAX_FITTED_HEADS
        room = self.calibration.bytes_within(self.gpu_memory_gb, is_alike=is_alike)
        return self._peak_bytes(candidate, batch_size) <= room

    def largest_batch(self, candidate: Candidate, limit: int) -> int:
        """The largest batch that fits, or `limit`; `MIN_BATCH_SIZE` is known to fit."""
        fitting, too_large = MIN_BATCH_SIZE, limit + 1
        batch = limit
        while too_large - fitting > 1:
            if self.fits(candidate, batch):
                fitting = batch
            else:
                too_large = batch
            batch = (fitting + too_large) // 2
        return fitting

    def provenance(self) -> dict[str, Any]:
        """What the plans' provenance says about the fit."""
        return {
            "fit": "upper bound of the estimated GPU memory (experimental)",
            "calibration": self.calibration.name,
        }

    def _peak_bytes(self, candidate: Candidate, batch_size: int) -> int:
        if candidate not in self._layers:
            self._layers[candidate] = sized_layers(
                candidate.unet, candidate.patch_size, self.input_channels, self.output_heads
            )
        key = (candidate, batch_size)
        if key not in self._peaks:
            loss: LossKind = "binary cross-entropy" if self.regions else "cross-entropy"
            step = simulate_training_step(self._layers[candidate], batch_size, loss)
            self._peaks[key] = step.peak_bytes
        return self._peaks[key]
