"""Makes samples whose augmentation is drawn, not done: what a device needs to augment them.

The previous stage of a cascade is the exception. Its components and its morphology are found on
the CPU, so all that is done to its labels is done here.
"""

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import default_collate

from resenc_plans.training.batches.augmentation import (
    previous_stage_channels,
    random_transforms,
    spatial_transform,
)
from resenc_plans.training.batches.drawn import (
    DrawnBatch,
    DrawnSample,
    done_before,
    draw_steps,
)
from resenc_plans.training.batches.generators import generators_kept, noise_seed, seed_sample
from resenc_plans.training.batches.grid_sampling import affine_grid, margins_around
from resenc_plans.training.batches.label_sampling import sample_labels
from resenc_plans.training.batches.patch_sampling import OUTSIDE_LABEL, reached
from resenc_plans.training.batches.samples import OpenCase, Samples, one_thread
from resenc_plans.training.batches.source import PatchSource

Affine = tuple[tuple[float, ...], ...]


class DrawnSamples:
    """Draws the samples of a batch of its number, from the generators that `Samples` draws from."""

    def __init__(self, source: PatchSource) -> None:
        self.source = source
        self.samples = Samples(source)
        settings, patch_size = self.samples.settings, source.config.patch_size
        self.rotated = tuple(patch_size[1:] if settings.plane_wise else patch_size)
        """The size of the patch on the axes that the affine turns."""
        self.read_size = self.samples.sampler.read_size[-len(self.rotated) :]
        # The points of the grid are made on the device; here only the affine is drawn.
        self.spatial = spatial_transform((2,) * len(patch_size), settings)

    def batch(self, number: int) -> DrawnBatch:
        """What this rank has of a batch.

        Raises
        ------
        FileError
            A case is damaged; it is named.
        """
        size = self.source.share.size
        with one_thread(), generators_kept():
            made = [self._sample(number, own) for own in range(size)]
        images, labels, previous, samples, cases = zip(*made, strict=True)
        earlier = [part for part in previous if part is not None]
        return DrawnBatch(
            # In a worker, default_collate stacks into memory that is shared with the trainer.
            default_collate([torch.cat([image.flatten() for image in images])])[0],
            default_collate([torch.cat([label.flatten() for label in labels])])[0],
            default_collate(earlier) if earlier else None,
            samples,
            cases,
        )

    def _sample(
        self, number: int, own: int
    ) -> tuple[Tensor, Tensor, Tensor | None, DrawnSample, str]:
        source, share = self.source, self.source.share
        numbers = source.seed, source.purpose, number, share.first + own
        seed_sample(*numbers)
        opened, first = self.samples.drawn(foreground=self.samples.shows_foreground(own))
        transforms = random_transforms(self.samples.settings)
        on_cpu = done_before(transforms)
        affine, place = None, tuple[int, ...]()
        if on_cpu:
            data = self.samples.spatially_transformed(opened, first)
            data = dict(ComposeTransforms(transforms[:on_cpu])(**data))
        else:
            affine, place, data = self._region(opened, first)
        image, segmentation = data["image"], data["segmentation"]
        steps, flips = draw_steps(transforms[on_cpu:], len(image), source.config.patch_size)
        sample = DrawnSample(
            shape=tuple(image.shape[1:]),
            affine=affine,
            first=place,
            steps=steps,
            flips=flips,
            noise_seed=noise_seed(*numbers),
        )
        previous = self._previous(segmentation[1], sample) if len(segmentation) > 1 else None
        return image, segmentation[0].to(source.label_type), previous, sample, opened.case

    def _region(
        self, opened: OpenCase, first: tuple[int, ...]
    ) -> tuple[Affine | None, tuple[int, ...], dict[str, Tensor]]:
        """The affine of a sample, and the region that it reaches: where it begins, and itself."""
        samples = self.samples
        read_size, axes = samples.sampler.read_size, len(self.rotated)
        drawn = self.spatial.get_parameters(image=torch.empty(1).expand(1, *self.read_size))
        if drawn["affine"] is None:
            place = samples.first_of_patch(first)
            return None, (), samples.read(opened, place, samples.sampler.patch_size)
        affine = tuple(tuple(map(float, row)) for row in drawn["affine"].astype(np.float32))
        ends = affine_grid(affine, self.rotated, self.read_size, torch.device("cpu"), ends=True)
        part = reached(ends, self.read_size)
        begin = tuple(piece.start for piece in part)
        size = (*read_size[:-axes], *(piece.stop - piece.start for piece in part))
        where = tuple(
            start + offset
            for start, offset in zip(first, (*(0,) * (len(first) - axes), *begin), strict=True)
        )
        return affine, begin, samples.read(opened, where, size)

    def _previous(self, labels: Tensor, sample: DrawnSample) -> Tensor:
        """The augmented labels of the previous stage, numbered from 1 as they are listed."""
        if sample.affine is not None:
            axes, shape = len(self.rotated), labels.shape
            grid = affine_grid(sample.affine, self.rotated, self.read_size, torch.device("cpu"))
            planes = labels.reshape(-1, *shape[-axes:])
            part = tuple(
                slice(start, start + length)
                for start, length in zip(sample.first, shape[-axes:], strict=True)
            )
            canvas = pad(planes, margins_around(sample.first, planes.shape[1:], self.read_size))
            sampled = [sample_labels(plane, grid, OUTSIDE_LABEL, part) for plane in canvas]
            labels = torch.stack(sampled).reshape(*shape[:-axes], *self.rotated)
        labels = labels.flip(sample.flips).clamp(min=0)
        channels = previous_stage_channels(self.source.labels, labels)
        numbers = channels.argmax(0) + 1
        return torch.where(channels.any(0), numbers, 0).to(torch.int16)
