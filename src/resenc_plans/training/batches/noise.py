"""`NoiseBatches`: one batch of noise again and again, to measure a training without its data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch

from resenc_plans.plans.configuration import input_channels
from resenc_plans.training.batches.source import Batch, PatchSource


@dataclass(frozen=True)
class NoiseBatches:
    """The same batch for ever, which goes to the device once."""

    batch: Batch
    device: torch.device

    @classmethod
    def like(cls, source: PatchSource, device: torch.device) -> Self:
        """Of the shapes and types of a source's batches."""
        config, labels, share = source.config, source.labels, source.share
        generator = torch.Generator().manual_seed(source.seed)
        size = (share.size, input_channels(config, labels), *config.patch_size)
        images = torch.randn(size, generator=generator).to(source.image_type)
        heads = len(labels.regions or (0,)) + (
            labels.has_regions and labels.ignore_label is not None
        )
        highest = 2 if labels.has_regions else labels.num_heads
        size = (share.size, heads, *config.patch_size)
        target = torch.randint(highest, size, generator=generator).to(source.target_type)
        return cls(Batch(images, target, ("noise",)), device)

    def stream(self, first: int) -> Iterator[Batch]:
        """The batch, without end, whatever the number of the first."""
        del first
        images, target = self.batch.images.to(self.device), self.batch.target.to(self.device)
        batch = replace(self.batch, images=images, target=target)
        while True:
            yield batch
