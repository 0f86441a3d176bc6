"""What a batch is, where it comes from, and what may be replaced on the way.

Every random number of a sample comes from generators seeded with (seed, purpose, batch, sample), so
a resumed run sees the batches that an undisturbed one sees, whatever the number of workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from resenc_plans.datasets.labels import Labels
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.training_settings import STANDARD_AUGMENTATION, AugmentationSettings
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.ranks import RankShare

Purpose = Literal["training", "validation"]


@dataclass(frozen=True)
class Batch:
    """What the network sees at once, and what it should say.

    `images` are (b, c, *patch), in float32 or in the type that the network computes in. `target`
    is as large: (b, 1, *patch) with labels, of any integer type, or (b, regions, *patch), bool,
    the ignored voxels as one more region. What lower scales of deep supervision should say is
    made from it where the network computes.
    """

    images: Tensor
    target: Tensor
    cases: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of images and target."""
        return self.images.nbytes + self.target.nbytes


class Batches(Protocol):
    """Where a trainer gets its batches from; pass your own to replace ours."""

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches number `first`, `first + 1` and so on, without end."""
        ...


class Sampler(Protocol):
    """Chooses what a training sample shows; pass your own to replace nnU-Net's."""

    def draw(
        self, cases: Sequence[str], store: CaseStore, size: Sequence[int], *, foreground: bool
    ) -> tuple[str, Sequence[int]]:
        """A case, and the first voxel (z, y, x) of a region of it of this size, to be read.

        The region may reach over the edges of the case. `foreground` says whether the sample is one
        of those that show foreground for certain. NumPy's global generator is seeded per sample.
        """
        ...


class Augmentation(Protocol):
    """Changes a training sample; pass your own to replace nnU-Net's."""

    @property
    def read_size(self) -> Sequence[int]:
        """Voxels (z, y, x) or (y, x) it is given: the patch, or more where it rotates."""
        ...

    def __call__(self, *, image: Tensor, segmentation: Tensor) -> Mapping[str, Tensor]:
        """Both, by name, of the patch size, as a transform of batchgeneratorsv2 gives them.

        The image is (c, *read_size), float32; the segmentation (1, *read_size), int16, -1 outside
        the case, in a cascade with the previous stage's as a second channel. The global generators
        of NumPy, torch and Python are seeded per sample.
        """
        ...


@dataclass(frozen=True)
class PatchSource:
    """Stored cases, and what one rank makes of them: batch number i is a function of this and i.

    Images come in `image_type`. A `sampler` or `augmentation` replaces nnU-Net's; with worker
    processes, it must be one that can be pickled.
    """

    store: CaseStore
    config: ResolvedConfiguration
    labels: Labels
    cases: tuple[str, ...]
    share: RankShare
    purpose: Purpose
    seed: int
    image_type: torch.dtype = torch.float32
    previous_stage: Path | None = None
    sampler: Sampler | None = None
    augmentation: Augmentation | None = None
    augmentation_settings: AugmentationSettings = STANDARD_AUGMENTATION
    foreground_chance: float | None = None
    """The probability that a sample shows foreground; None: the last ones of a batch do."""

    @property
    def target_type(self) -> torch.dtype:
        """The smallest type of a target: bool for regions, int8 if all labels fit, else int16."""
        return torch.bool if self.labels.has_regions else self.label_type

    @property
    def label_type(self) -> torch.dtype:
        """The smallest type of the stored labels."""
        labels = self.labels
        largest = max(*labels.all_labels, labels.ignore_label or 0)
        return torch.int8 if largest <= torch.iinfo(torch.int8).max else torch.int16

    @property
    def batch_bytes(self) -> int:
        """Bytes of images and target of this rank's share of a batch."""
        labels = self.labels
        regions = len(labels.regions or ()) + (labels.ignore_label is not None)
        images = input_channels(self.config, labels) * self.image_type.itemsize
        target = (regions if labels.has_regions else 1) * self.target_type.itemsize
        return self.share.size * prod(self.config.patch_size) * (images + target)

    @property
    def drawn_bytes(self) -> int:
        """Bytes of this rank's share of a batch that is to be augmented elsewhere, at most."""
        config = self.config
        image = len(config.use_mask_for_norm) * torch.float32.itemsize
        read = prod(spatial_settings(config.patch_size, self.augmentation_settings).read_size)
        previous = torch.int16.itemsize if config.previous_stage is not None else 0
        sample = read * (image + self.label_type.itemsize) + prod(config.patch_size) * previous
        return self.share.size * sample
