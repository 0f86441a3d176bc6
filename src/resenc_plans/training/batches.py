"""Batches of patches from the store: batch number i is a function of the seed and i alone.

Every random number of a sample comes from generators seeded with (seed, purpose, batch, sample), so
a resumed run sees the batches that an undisturbed one sees, whatever the number of workers.
"""

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ResencPlansError
from resenc_plans.plans.models import ResolvedConfiguration
from resenc_plans.preprocessing.store import CaseStore
from resenc_plans.training.augmentation import (
    plane_wise,
    spatial_settings,
    spatial_transform,
    training_transforms,
    validation_transforms,
)
from resenc_plans.training.batch_split import RankShare
from resenc_plans.training.patch_sampling import (
    OUTSIDE_IMAGE,
    OUTSIDE_LABEL,
    PatchSampler,
    read_region,
)
from resenc_plans.training.previous_stage import open_prediction

Purpose = Literal["training", "validation"]
_STREAMS: dict[Purpose, int] = {"training": 0, "validation": 1}


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


@dataclass(frozen=True)
class PatchBatches:
    """Patches of stored cases, for one rank.

    `scales` are those of `deep_supervision_scales`, None without deep supervision. With `workers`
    0 this process makes the batches itself.
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

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches number `first`, `first + 1` and so on, without end.

        Raises
        ------
        ResencPlansError
            A case is damaged, or a worker was killed.
        """
        loader = DataLoader(
            _Samples(self),
            batch_size=None,
            sampler=_Numbers(first),
            num_workers=self.workers,
            prefetch_factor=3 if self.workers else None,
            pin_memory=self.pin_memory,
            worker_init_fn=_leave_signals_to_the_trainer,
        )
        try:
            for images, targets, cases, fault in loader:
                if fault is not None:
                    raise fault
                yield Batch(images, targets, cases)
        except RuntimeError as error:
            if "worker" not in str(error):
                raise
            raise ResencPlansError(
                f"A process that loads data was killed, most likely for want of memory: {error}. "
                "Try fewer --workers."
            ) from error


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C, SLURM and torchrun signal all processes of a group, and batches are still needed.

    A worker ends when the trainer closes its queue, or is gone.
    """
    del worker
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class _Numbers:
    """The numbers of the batches, as a sampler."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return count(self.first)


class _Samples(Dataset[Any]):
    """Makes a batch of its number."""

    def __init__(self, source: PatchBatches) -> None:
        self.source = source
        patch_size = source.config.patch_size
        self.settings = spatial_settings(patch_size)
        augmented = source.purpose == "training"
        self.spatial = spatial_transform(patch_size, self.settings) if augmented else None
        read_size = self.settings.read_size if augmented else patch_size
        self.sampler = PatchSampler.of(patch_size, read_size, source.labels)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        share = self.source.share
        try:
            with _one_thread():
                samples = [self._sample(number, share, own) for own in range(share.size)]
        except ResencPlansError as error:
            return None, None, None, error
        images = torch.stack([image for image, _, _ in samples])
        targets = tuple(torch.stack(scale) for scale in zip(*(t for _, t, _ in samples)))  # noqa: B905
        return images, targets, tuple(case for _, _, case in samples), None

    def _sample(self, number: int, share: RankShare, own: int) -> tuple[Tensor, list[Tensor], str]:
        source = self.source
        _seed_generators(source.seed, _STREAMS[source.purpose], number, share.first + own)
        case = source.cases[np.random.choice(len(source.cases))]
        image, labels = source.store.arrays(case)
        foreground = own >= share.first_foreground
        needs_locations = foreground or self.sampler.annotated is not None
        locations = source.store.properties(case)["class_locations"] if needs_locations else {}
        first = self.sampler.draw(image.shape[1:], locations, foreground=foreground)
        previous = None
        if source.previous_stage is not None:
            previous = open_prediction(source.previous_stage, case, image.shape[1:])
        data = self._spatially_transformed(image, labels, previous, first)
        result = self._transforms()(**data)
        target = result["segmentation"]
        return result["image"], target if isinstance(target, list) else [target], case

    def _spatially_transformed(
        self, image: Any, labels: Any, previous: Any, first: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """The patch after rotation and scaling; what these would cut off is not even read."""
        sampler = self.sampler
        if self.spatial is None:
            return self._read(image, labels, previous, first, sampler.read_size)
        axes = len(self.spatial.patch_size)
        extent = torch.empty(1).expand(1, *sampler.read_size[-axes:])
        parameters = self.spatial.get_parameters(image=extent)
        if parameters["grid"] is None:
            pairs = zip(first, sampler.read_size, sampler.patch_size, strict=True)
            centred = tuple(start + read // 2 - patch // 2 for start, read, patch in pairs)
            return self._read(image, labels, previous, centred, sampler.patch_size)
        data = self._read(image, labels, previous, first, sampler.read_size)
        if not self.settings.plane_wise:
            return dict(self.spatial.apply(data, **parameters))
        return dict(plane_wise(_Drawn(self.spatial, parameters))(**data))

    def _read(
        self, image: Any, labels: Any, previous: Any, first: tuple[int, ...], size: tuple[int, ...]
    ) -> dict[str, Tensor]:
        images = read_region(image, first, size, OUTSIDE_IMAGE).astype(np.float32, copy=False)
        segmentation = [read_region(labels, first, size, OUTSIDE_LABEL).astype(np.int16)]
        if previous is not None:
            segmentation.append(read_region(previous, first, size, OUTSIDE_LABEL).astype(np.int16))
        arrays: dict[str, npt.NDArray[Any]] = {
            "image": images,
            "segmentation": np.concatenate(segmentation),
        }
        if self.source.config.dim == 2:
            arrays = {key: array[:, 0] for key, array in arrays.items()}
        return {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}

    def _transforms(self) -> ComposeTransforms:
        """Made anew for each sample, since some transforms keep a state."""
        source = self.source
        if self.spatial is None:
            return validation_transforms(source.config, source.labels, source.scales)
        return training_transforms(source.config, source.labels, self.settings, source.scales)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and patches are too small to gain from several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Drawn:
    """A transform whose random parameters have been drawn."""

    def __init__(self, transform: Any, parameters: dict[str, Any]) -> None:
        self.transform, self.parameters = transform, parameters

    def __call__(self, **data: Any) -> Any:
        return self.transform.apply(data, **self.parameters)


def _seed_generators(*key: int) -> None:
    """Seed the global generators, from which batchgeneratorsv2 draws, for one sample."""
    state = np.random.SeedSequence(key).generate_state(6)
    np.random.seed(state[:4])
    torch.default_generator.manual_seed(int(state[4]))
    random.seed(int(state[5]))
