"""Batches of patches from the store: batch number i is a function of the seed and i alone.

Every random number of a sample comes from generators seeded with (seed, purpose, batch, sample), so
a resumed run sees the batches that an undisturbed one sees, whatever the number of workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ResencPlansError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.training.batch_split import RankShare
from resenc_plans.training.batches.loading_processes import leave_signals_to_the_trainer, start

if TYPE_CHECKING:
    from resenc_plans.training.batches.samples import Samples

Purpose = Literal["training", "validation"]


@dataclass(frozen=True)
class Batch:
    """What the network sees at once, and what it should say.

    `images` are (b, c, *patch), float32. `targets` have the highest resolution first, one per
    scale of deep supervision: (b, 1, *size) with labels, or (b, regions, *size), the ignored
    voxels as one more region.
    """

    images: Tensor
    targets: tuple[Tensor, ...]
    cases: tuple[str, ...]


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
class PatchBatches:
    """Patches of stored cases, for one rank.

    `scales` are those of `plans.resolutions.output_scales`, None without deep supervision. With
    `workers` 0 this process makes the batches itself. A `sampler` or `augmentation` replaces
    nnU-Net's; with workers, it has to be one that can be pickled.
    """

    store: CaseStore
    config: ResolvedConfiguration
    labels: Labels
    cases: tuple[str, ...]
    share: RankShare
    purpose: Purpose
    scales: Sequence[Sequence[float]] | None
    seed: int
    workers: int = 0
    previous_stage: Path | None = None
    pin_memory: bool = False
    sampler: Sampler | None = None
    augmentation: Augmentation | None = None

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches number `first`, `first + 1` and so on, without end.

        Raises
        ------
        ResencPlansError
            A case is damaged, or a worker was killed.
        """
        loader = DataLoader(
            _ByNumber(self),
            batch_size=None,
            sampler=_Numbers(first),
            num_workers=self.workers,
            prefetch_factor=3 if self.workers else None,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # or it would draw from the generator of the training
            worker_init_fn=leave_signals_to_the_trainer,
        )
        made = start(loader)
        try:
            for parts, fault in made:
                if fault is not None:
                    raise fault
                yield Batch(*parts)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise
            raise ResencPlansError(
                f"A process that loads data was killed, most likely for want of memory: {error}. "
                "Try fewer --workers."
            ) from error
        finally:
            del made  # which ends the processes, whoever still holds a traceback with this frame


class _Numbers:
    """The numbers of the batches, as a sampler."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return count(self.first)


class _ByNumber(Dataset[Any]):
    """Makes a batch of its number: its parts, and None or why there are none."""

    def __init__(self, source: PatchBatches) -> None:
        self.source = source
        self.samples: Samples | None = None

    def __getitem__(self, number: int) -> tuple[tuple[Any, ...], ResencPlansError | None]:
        if self.samples is None:
            from resenc_plans.training.batches.samples import (
                Samples,  # slow, and done by each process
            )

            self.samples = Samples(self.source)
        try:
            batch = self.samples.batch(number)
        except ResencPlansError as error:
            return (), error
        return (batch.images, batch.targets, batch.cases), None
