"""From stored cases to samples: which case, which voxels, and how they are augmented.

Every random number of a sample comes from generators seeded with (seed, purpose, batch, sample).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor
from torch.utils.data import default_collate

from resenc_plans.errors import FileError, TrainingError
from resenc_plans.preprocessing.store.case_store import LazyArray
from resenc_plans.runs.stages import open_prediction
from resenc_plans.training.batches.augmentation import (
    plane_wise,
    spatial_transform,
    training_transforms,
    validation_transforms,
)
from resenc_plans.training.batches.generators import generators_kept, seed_sample
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.batches.patch_sampling import (
    OUTSIDE_IMAGE,
    OUTSIDE_LABEL,
    PatchSampler,
    reached,
    read_region,
)
from resenc_plans.training.batches.source import Augmentation, Batch, PatchSource
from resenc_plans.training.ranks import RankShare

MAX_OPEN = 64
"""Cases whose files a process keeps open."""


@dataclass(frozen=True)
class OpenCase:
    """A case of which nothing is read yet but the headers."""

    case: str
    image: LazyArray
    labels: tuple[LazyArray, ...]
    """The labels, and in a cascade those that the previous stage predicted."""


class Samples:
    """Makes the samples of a batch of its number."""

    def __init__(self, source: PatchSource) -> None:
        self.source = source
        patch_size = source.config.patch_size
        chosen = source.augmentation_settings
        self.settings = spatial_settings(patch_size, chosen)
        read_size, self.spatial = patch_size, None
        if source.augmentation is not None:
            read_size = tuple(source.augmentation.read_size)
        elif source.purpose == "training" and chosen.transforms != "none":
            read_size = self.settings.read_size
            self.spatial = spatial_transform(patch_size, self.settings, chosen)
        self.sampler = PatchSampler.of(patch_size, read_size, source.labels)
        self.is_flat = source.config.dim == 2
        self.opened: dict[str, OpenCase] = {}

    def batch(self, number: int) -> Batch:
        """What this rank has of a batch.

        Raises
        ------
        FileError
            A case is damaged; it is named.
        """
        share = self.source.share
        with one_thread(), generators_kept():
            samples = [self._sample(number, share, own) for own in range(share.size)]
        # In a worker, default_collate stacks into memory that is shared with the trainer.
        images = default_collate([image for image, _, _ in samples])
        target = default_collate([target for _, target, _ in samples])
        return Batch(images, target, tuple(case for _, _, case in samples))

    def _sample(self, number: int, share: RankShare, own: int) -> tuple[Tensor, Tensor, str]:
        source = self.source
        seed_sample(source.seed, source.purpose, number, share.first + own)
        opened, first = self.drawn(foreground=self.shows_foreground(own))
        data = self.spatially_transformed(opened, first)
        if source.augmentation is not None:
            data = _augmented(source.augmentation, data, source.config.patch_size)
        result = self._transforms()(**data)
        image, target = result["image"], result["segmentation"]
        return image.to(source.image_type), target.to(source.target_type), opened.case

    def drawn(self, *, foreground: bool) -> tuple[OpenCase, tuple[int, ...]]:
        """The case of a sample, and the first voxel of the region to read."""
        source = self.source
        if source.sampler is not None:
            size = self.sampler.read_size
            name, start = source.sampler.draw(
                source.cases, source.store, size, foreground=foreground
            )
            if name not in source.cases or len(start) != len(size):
                raise TrainingError(
                    f"The sampler drew {name!r} at {tuple(start)}; one of the cases it was given, "
                    "and a voxel (z, y, x), are needed."
                )
            return self._opened(name), tuple(int(voxel) for voxel in start)
        case = source.cases[np.random.choice(len(source.cases))]
        opened = self._opened(case)
        needs_locations = foreground or self.sampler.annotated is not None
        locations = source.store.class_locations(case) if needs_locations else {}
        return opened, self.sampler.draw(opened.image.shape[1:], locations, foreground=foreground)

    def _opened(self, case: str) -> OpenCase:
        """The files of a case; those of the last cases stay open."""
        opened = self.opened.pop(case, None) or self._open(case)
        self.opened[case] = opened
        if len(self.opened) > MAX_OPEN:
            del self.opened[next(iter(self.opened))]
        return opened

    def _open(self, case: str) -> OpenCase:
        source = self.source
        image, labels = source.store.arrays(case)
        if source.previous_stage is None:
            return OpenCase(case, image, (labels,))
        previous = open_prediction(source.previous_stage, case, image.shape[1:])
        return OpenCase(case, image, (labels, previous))

    def spatially_transformed(self, opened: OpenCase, first: tuple[int, ...]) -> dict[str, Tensor]:
        """The patch after rotation and scaling; what these do not reach is not even read."""
        sampler = self.sampler
        if self.spatial is None:
            return self.read(opened, first, sampler.read_size)
        axes = len(self.spatial.patch_size)
        extent = torch.empty(1).expand(1, *sampler.read_size[-axes:])
        parameters = self.spatial.get_parameters(image=extent)
        if parameters["grid"] is None:
            return self.read(opened, self.first_of_patch(first), sampler.patch_size)
        part = reached(parameters["grid"], sampler.read_size[-axes:])
        planes = tuple(slice(0, extent) for extent in sampler.read_size[:-axes])
        data = self.read(opened, first, sampler.read_size, (*planes, *part))
        drawn = parameters | {"part": part}
        if not self.settings.plane_wise:
            return dict(self.spatial.apply(data, **drawn))
        return dict(plane_wise(_Drawn(self.spatial, drawn))(**data))

    def first_of_patch(self, first: tuple[int, ...]) -> tuple[int, ...]:
        """The first voxel of the patch in the middle of the region that begins at `first`."""
        pairs = zip(first, self.sampler.read_size, self.sampler.patch_size, strict=True)
        return tuple(start + read // 2 - patch // 2 for start, read, patch in pairs)

    def read(
        self,
        opened: OpenCase,
        first: tuple[int, ...],
        size: tuple[int, ...],
        part: tuple[slice, ...] | None = None,
    ) -> dict[str, Tensor]:
        """A region of the image, and of the labels as channels; see `read_region`."""
        try:
            image = read_region(opened.image, first, size, OUTSIDE_IMAGE, part)
            labels = [read_region(a, first, size, OUTSIDE_LABEL, part) for a in opened.labels]
        except (OSError, RuntimeError, ValueError) as error:
            raise FileError(
                f"{self.source.store.folder}: {opened.case} cannot be read ({error}). Preprocess "
                "it again; a check of the stored cases finds all that are damaged."
            ) from None
        data = {
            "image": torch.from_numpy(image).float(),
            "segmentation": torch.cat([torch.from_numpy(channel).short() for channel in labels]),
        }
        return {key: array[:, 0] for key, array in data.items()} if self.is_flat else data

    def shows_foreground(self, own: int) -> bool:
        """Whether a sample of this rank shows foreground for certain; it may be drawn by chance."""
        chance = self.source.foreground_chance
        if chance is None:
            return own >= self.source.share.first_foreground
        return bool(np.random.uniform() < chance)

    def _transforms(self) -> ComposeTransforms:
        """Made anew for each sample, since some transforms keep a state."""
        source = self.source
        if self.spatial is None:
            return validation_transforms(source.config, source.labels)
        chosen = source.augmentation_settings
        return training_transforms(source.config, source.labels, self.settings, chosen)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and patches are too small to gain from several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _augmented(
    augmentation: Augmentation, data: dict[str, Tensor], patch_size: tuple[int, ...]
) -> dict[str, Tensor]:
    result = dict(augmentation(**data))
    for key, before in data.items():
        expected = (before.shape[0], *patch_size)
        if key not in result or tuple(result[key].shape) != expected:
            shape = tuple(result[key].shape) if key in result else "nothing"
            raise TrainingError(
                f"The augmentation returned {shape} as {key}; the shape {expected} is needed."
            )
    return result


class _Drawn:
    """A transform whose random parameters have been drawn."""

    def __init__(self, transform: Any, parameters: dict[str, Any]) -> None:
        self.transform, self.parameters = transform, parameters

    def __call__(self, **data: Any) -> Any:
        return self.transform.apply(data, **self.parameters)
