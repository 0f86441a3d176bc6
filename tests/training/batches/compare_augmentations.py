"""Compare samples augmented on a device with those of the CPU: `compare_augmentations SAMPLES`.

The cases are made up: white noise, for which an interpolation between other voxels would show, and
labels with many borders. Prints for so many samples of each kind of data the largest difference of
images without noise, and how many labels differ. `--device` names where the samples are augmented.
The exit code is 1 where an image differs by 1e-4 or more, or more than ties between labels.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from resenc_plans.datasets.labels import Labels
from resenc_plans.training.batches import samples as samples_module
from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
from resenc_plans.training.batches.drawn import NOISE, DrawnBatch
from resenc_plans.training.batches.drawn_samples import DrawnSamples
from resenc_plans.training.batches.samples import Samples
from resenc_plans.training.batches.source import Batch, PatchSource
from resenc_plans.training.ranks import split_batch

BATCH_SIZE = 4
MAX_DIFFERENCE = 1e-4
"""Of images that are the same but for rounding."""
MAX_TIES = 1e-4
"""The share of labels that may differ, where several are equally likely."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MadeUpCases:
    """Stored cases in memory, by name, with what a previous stage says of them."""

    images: Mapping[str, Array]
    labels: Mapping[str, Array]
    previous: Mapping[str, Array]
    annotated: tuple[int, ...] | None
    folder: Path = Path("nowhere")

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def arrays(self, case: str) -> tuple[Array, Array]:
        return self.images[case], self.labels[case]

    def class_locations(self, case: str) -> dict[Any, Array]:
        labels = self.labels[case]
        places: dict[Any, Array] = {
            int(label): np.argwhere(labels == label) for label in np.unique(labels) if label > 0
        }
        if self.annotated is not None:
            places[-1, *self.annotated] = np.argwhere(np.isin(labels, self.annotated))
        return places


_PLAIN = Labels((0, 1, 2), None, None, None)


@dataclass(frozen=True)
class Kind:
    """Of data: the patch, the size of cases, channels, labels, whether a stage comes before."""

    patch: tuple[int, ...]
    shape: tuple[int, int, int]
    channels: int = 1
    labels: Labels = _PLAIN
    has_previous: bool = False

    def source(self, seed: int = 1) -> PatchSource:
        """Patches of three made-up cases."""
        random = np.random.default_rng(seed)
        ignored = () if self.labels.ignore_label is None else (self.labels.ignore_label,)
        values = (*self.labels.all_labels, *ignored)
        images, labels, previous = {}, {}, {}
        for number in range(3):
            name = f"case_{number}"
            image = random.standard_normal((self.channels, *self.shape)).astype(np.float32)
            field = gaussian_filter(random.standard_normal(self.shape), (0.5, 2, 2))
            field /= field.std()
            label = np.zeros((1, *self.shape), np.int16)
            for rank, value in enumerate(values[1:]):
                label[0][field > 0.2 + 0.6 * rank] = value
            label[:, :, :3] = -1
            image[:, :, :3] = 0
            images[name], labels[name] = image, label
            previous[name] = np.roll(label, 2, axis=2).clip(0, self.labels.all_labels[-1])
        config: Any = SimpleNamespace(
            patch_size=self.patch,
            dim=len(self.patch),
            use_mask_for_norm=[True] * self.channels,
            previous_stage="lowres" if self.has_previous else None,
        )
        store: Any = MadeUpCases(
            images, labels, previous, self.labels.all_labels if ignored else None
        )
        return PatchSource(
            store=store,
            config=config,
            labels=self.labels,
            cases=tuple(store),
            share=split_batch(BATCH_SIZE, 1, 0.33)[0],
            purpose="training",
            seed=seed,
            previous_stage=Path("lowres") if self.has_previous else None,
        )


_REGIONS = Labels((0, 1, 2), ((1, 2), 2), (1, 2), None)
_SMALL, _SMALL_CASE = (12, 14, 16), (20, 24, 26)
KINDS = {
    "3D": Kind((24, 20, 28), (40, 36, 48)),
    "2D, 2 channels": Kind((40, 36), (3, 60, 64), channels=2),
    "anisotropic, 2 channels": Kind((8, 32, 30), (14, 50, 48), channels=2),
    "regions, 3 channels": Kind(_SMALL, _SMALL_CASE, channels=3, labels=_REGIONS),
    "ignore label": Kind(_SMALL, _SMALL_CASE, labels=Labels((0, 1, 2), None, None, 3)),
    "regions and ignore label": Kind(_SMALL, _SMALL_CASE, labels=replace(_REGIONS, ignore_label=3)),
    "200 labels": Kind(_SMALL, _SMALL_CASE, labels=Labels((0, 1, 7, 200), None, None, None)),
    "cascade": Kind(_SMALL, _SMALL_CASE, has_previous=True),
    "anisotropic cascade": Kind((6, 20, 22), (10, 30, 34), has_previous=True),
    "cascade, 2 channels, regions and ignore label": Kind(
        *(_SMALL, _SMALL_CASE, 2), labels=replace(_REGIONS, ignore_label=3), has_previous=True
    ),
}


@dataclass(frozen=True)
class Comparison:
    """Of one batch both ways; `difference` is that of the images of samples without noise."""

    on_cpu: Batch
    on_device: Batch
    drawn: DrawnBatch
    difference: float
    other_labels: int

    @property
    def noisy(self) -> list[int]:
        """The samples with noise."""
        return [number for number, sample in enumerate(self.drawn.samples) if has_noise(sample)]


def has_noise(sample: Any) -> bool:
    """Whether noise is added to a drawn sample."""
    return any(step.kind == NOISE for step in sample.steps)


def compare(source: PatchSource, batches: int, device: str = "cpu") -> Iterator[Comparison]:
    """Both ways of making the first batches of a source."""
    whole, drawn_samples = Samples(source), DrawnSamples(source)
    augment = DeviceAugmentation(source, torch.device(device))
    store: Any = source.store

    def predicted(_: Path, case: str, __: object) -> Array:
        previous: Array = store.previous[case]
        return previous

    with patch.object(samples_module, "open_prediction", predicted):
        for number in range(batches):
            on_cpu, drawn = whole.batch(number), drawn_samples.batch(number)
            made = augment(drawn)
            on_device = Batch(made.images.cpu(), made.target.cpu(), made.cases)
            differences = [
                (one - other).abs().max().item()
                for one, other, sample in zip(
                    on_cpu.images, on_device.images, drawn.samples, strict=True
                )
                if not has_noise(sample)
            ]
            other_labels = int((on_cpu.target != on_device.target).sum())
            yield Comparison(on_cpu, on_device, drawn, max(differences, default=0.0), other_labels)


@dataclass(frozen=True)
class Found:
    """Of all samples of a kind that were compared."""

    samples: int
    noisy: int
    difference: float
    voxels: int
    other_labels: int

    @property
    def is_equal(self) -> bool:
        """Whether nothing but rounding, ties and noise tells both ways apart."""
        return self.difference < MAX_DIFFERENCE and self.other_labels <= MAX_TIES * self.voxels


def compare_kind(name: str, samples: int, device: str = "cpu") -> Found:
    """So many samples of a kind, or a few more, both ways."""
    batches = -(-samples // BATCH_SIZE)
    seed = list(KINDS).index(name) + 1
    found = Found(0, 0, 0.0, 0, 0)
    for one in compare(KINDS[name].source(seed), batches, device):
        found = Found(
            found.samples + len(one.on_cpu.images),
            found.noisy + len(one.noisy),
            max(found.difference, one.difference),
            found.voxels + one.on_cpu.target.numel(),
            found.other_labels + one.other_labels,
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("samples", type=int, help="of each kind")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    is_equal = True
    for name in KINDS:
        found = compare_kind(name, options.samples, options.device)
        is_equal &= found.is_equal
        print(
            f"{name}: {found.samples} samples, {found.noisy} with noise; images differ by "
            f"{found.difference:.1e} at most, {found.other_labels} of {found.voxels} labels differ",
            flush=True,
        )
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
