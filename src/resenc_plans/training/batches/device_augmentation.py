"""`DeviceAugmentation`: augments drawn samples where the network computes, a batch at a time.

The result is that of `Samples`, which augments on the CPU: images but for rounding and for fields
of noise, labels but for ties. The host reads nothing from the device.
"""

import logging
from collections.abc import Callable
from functools import partial
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from resenc_plans.errors import DeviceError
from resenc_plans.networks.device import is_out_of_memory, release_memory
from resenc_plans.training.batches.augmentation import (
    masked_channels,
    random_transforms,
    target_regions,
)
from resenc_plans.training.batches.batched_transforms import BATCHED
from resenc_plans.training.batches.drawn import (
    NOISE,
    DrawnBatch,
    DrawnSample,
    DrawnStep,
    Table,
    done_before,
    name_of,
)
from resenc_plans.training.batches.grid_sampling import (
    affine_grid,
    sample_at_corners,
    sample_image,
)
from resenc_plans.training.batches.patch_geometry import spatial_settings
from resenc_plans.training.batches.patch_sampling import OUTSIDE_LABEL
from resenc_plans.training.batches.source import Batch, PatchSource

logger = logging.getLogger(__name__)

_HOST = torch.device("cpu")
Parts = TypeVar("Parts")


class DeviceAugmentation:
    """Makes batches of drawn samples on a device.

    Where the device has too little memory, the part that does not fit is done on the CPU from then
    on, which is logged once.
    """

    def __init__(self, source: PatchSource, device: torch.device) -> None:
        self.source, self.device = source, device
        patch_size = source.config.patch_size
        settings = spatial_settings(patch_size, source.augmentation_settings)
        self.rotated = tuple(patch_size[1:] if settings.plane_wise else patch_size)
        self.read_size = settings.read_size[-len(self.rotated) :]
        self.on_host: set[str] = set()
        """The parts for which the device has had too little memory."""
        transforms = random_transforms(settings)
        on_cpu = transforms[: done_before(transforms)]
        if on_cpu:
            logger.warning(
                "%s has no form for batches: it and what comes before it are done on the CPU.",
                name_of(on_cpu[-1]),
            )

    def __call__(self, drawn: DrawnBatch) -> Batch:
        """The batch, on the device."""
        try:
            images, labels = self._fitting("rotation", lambda device: self._placed(drawn, device))
            self._change(images, drawn.samples)
            images, target = self._fitting(
                "targets", lambda device: self._finished(images, labels, drawn, device)
            )
            images = images.to(self.device, non_blocking=True)
            target = target.to(self.device, non_blocking=True)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self.device}: has too little memory for a batch or for its noise, although the "
                "rest is augmented on the CPU. Augment on the CPU alone (`augment_on=`), or derive "
                "a configuration with a smaller patch."
            ) from error
        return Batch(images, target, drawn.cases)

    def _fitting(self, part: str, do: Callable[[torch.device], Parts]) -> Parts:
        """Do a part on the device if its memory is large enough, else on the CPU."""
        if part in self.on_host:
            return do(_HOST)
        try:
            return do(self.device)
        except RuntimeError as error:  # what the attempt held is freed when this block ends
            if not is_out_of_memory(error):
                raise
            self.on_host.add(part)
        release_memory(self.device)
        logger.warning(
            "%s has too little memory to augment batches (%s): from here on, this part is done on "
            "the CPU.",
            self.device,
            part,
        )
        return do(_HOST)

    def _placed(self, drawn: DrawnBatch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (b, c, *patch) and labels (b, *patch), rotated and scaled."""
        images = drawn.images.to(device, non_blocking=True)
        labels = drawn.labels.to(device, non_blocking=True)
        voxels = [prod(sample.shape) for sample in drawn.samples]
        channels = len(images) // sum(voxels)
        placed, begin = [], 0
        for sample, number in zip(drawn.samples, voxels, strict=True):
            image = images.narrow(0, channels * begin, channels * number)
            label = labels.narrow(0, begin, number).view(sample.shape)
            placed.append(self._place(sample, image.view(channels, *sample.shape), label))
            begin += number
        return torch.stack([image for image, _ in placed]), torch.stack([one for _, one in placed])

    def _place(self, sample: DrawnSample, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        if sample.affine is None:
            return image, label
        axes, device = len(self.rotated), image.device
        planes = sample.shape[:-axes]
        shape = sample.shape[-axes:]
        grid = affine_grid(sample.affine, self.rotated, self.read_size, device)
        place = sample.first, self.read_size
        turned = sample_image(image.reshape(-1, *shape), grid, *place)
        labels = sample_at_corners(label.reshape(-1, *shape), grid, *place, OUTSIDE_LABEL)
        return (
            turned.reshape(len(image), *planes, *self.rotated),
            labels.reshape(*planes, *self.rotated),
        )

    def _change(self, images: Tensor, samples: tuple[DrawnSample, ...]) -> None:
        """Apply all steps to the samples (b, c, *patch), in place."""
        channels = images.shape[1]
        rows_of_all = images.view(-1, *images.shape[2:])
        for place in sorted({step.place for sample in samples for step in sample.steps}):
            chosen = [
                (number, step)
                for number, sample in enumerate(samples)
                for step in sample.steps
                if step.place == place
            ]
            kind = chosen[0][1].kind
            rows = np.concatenate([number * channels + step.channels for number, step in chosen])
            steps = [step for _, step in chosen]
            change: Callable[[Tensor], Tensor] = partial(_changed, steps)
            if kind == NOISE:
                seeds = [samples[number].noise_seed for number, _ in chosen]
                change = partial(self._noisy, steps, seeds)
            self._fitting(kind, partial(_change_rows, change, rows_of_all, rows))

    def _noisy(self, steps: list[DrawnStep], seeds: list[int], images: Tensor) -> Tensor:
        """The chosen rows of all samples with noise, which is added in place."""
        begin = 0
        for step, seed in zip(steps, seeds, strict=True):
            field = self._noise(step, seed, images.shape[1:])
            images.narrow(0, begin, len(field)).add_(field.to(images.device))
            begin += len(field)
        return images

    def _noise(self, step: DrawnStep, seed: int, shape: tuple[int, ...]) -> Tensor:
        """A field of noise for each channel of a step.

        The augmentation's device draws it even for images that lie on the host: another generator
        would draw other fields.
        """
        device = self.device if self.device.type == "cuda" else _HOST
        generator = torch.Generator(device).manual_seed(seed)
        field = torch.randn((len(step.channels), *shape), generator=generator, device=device)
        deviation = _moved(step.tables["deviation"], device)
        field *= deviation.reshape(-1, *(1,) * len(shape))
        return field

    def _finished(
        self, images: Tensor, labels: Tensor, drawn: DrawnBatch, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Mirrored images with all channels, in their type, and the target of full resolution."""
        source = self.source
        axes = labels.ndim - 1
        flips = [[axis - axes for axis in sample.flips] for sample in drawn.samples]
        images, labels = _flipped(images.to(device), flips), _flipped(labels.to(device), flips)
        outside = (labels == OUTSIDE_LABEL)[:, None]
        for channel in masked_channels(source.config):
            images[:, channel : channel + 1].masked_fill_(outside, 0)
        labels = labels[:, None].masked_fill(outside, 0)
        if drawn.previous is not None:
            previous = drawn.previous.to(device, non_blocking=True)
            foreground = range(1, len(source.labels.foreground_labels) + 1)
            channels = [(previous == number).to(images.dtype) for number in foreground]
            images = torch.cat([images, torch.stack(channels, 1)], 1)
        regions = target_regions(source.labels)
        if regions:
            labels = torch.cat([_any_of(labels, region) for region in regions], 1)
        return images.to(source.image_type), labels.to(source.target_type)


def _changed(steps: list[DrawnStep], images: Tensor) -> Tensor:
    return BATCHED[steps[0].kind](images, _tables(steps, images.device))


def _change_rows(
    change: Callable[[Tensor], Tensor], images: Tensor, rows: Table, device: torch.device
) -> None:
    """Change some rows of the images on a device, from copies of them.

    They are written when all that needs memory is done, so that it may be done again. The images'
    own device needs none where it is another.
    """
    if device == images.device:
        index = _moved(rows, device)
        images.index_copy_(0, index, change(images.index_select(0, index)))
        return
    changed = change(torch.stack([images[row].to(device) for row in rows.tolist()]))
    for row, values in zip(rows.tolist(), changed, strict=True):
        images[row].copy_(values)


def _flipped(samples: Tensor, flips: list[list[int]]) -> Tensor:
    """A copy of the samples, mirrored each along its own axes, of which the last is -1."""
    return torch.stack([one.flip(axes) for one, axes in zip(samples, flips, strict=True)])


def _any_of(labels: Tensor, region: list[int]) -> Tensor:
    inside = labels == region[0]
    for label in region[1:]:
        inside = inside | (labels == label)
    return inside


def _tables(steps: list[DrawnStep], device: torch.device) -> dict[str, Tensor]:
    """The tables of several samples, one below the other."""
    tables = {}
    for name in steps[0].tables:
        parts = [step.tables[name] for step in steps]
        if parts[0].ndim > 1:  # kernels may differ in length; their middles lie together
            longest = max(part.shape[-1] for part in parts)
            margins = [(longest - part.shape[-1]) // 2 for part in parts]
            parts = [
                np.pad(part, [(0, 0)] * (part.ndim - 1) + [(margin, margin)])
                for part, margin in zip(parts, margins, strict=True)
            ]
        tables[name] = _moved(np.concatenate(parts), device)
    return tables


def _moved(numbers: Table, device: torch.device) -> Tensor:
    """The numbers on a device; a GPU copies from pinned memory, or it would be waited for."""
    values = torch.from_numpy(numbers)
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
