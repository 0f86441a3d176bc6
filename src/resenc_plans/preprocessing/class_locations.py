"""Where each class is: sampled voxels, from which training draws the centres of its patches.

The numbers of samples, the seed and the layout are those of nnU-Net's
`DefaultPreprocessor._sample_foreground_locations`: of each class at least 10,000 voxels or all of
them, and at least 1 %, drawn without replacement. nnU-Net lists the coordinates of all foreground
voxels, sorted by label; here only counts per plane and label are held, and a drawn rank is looked
up in its plane.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.labels import Labels

Labelled = npt.NDArray[Any]
Locations = npt.NDArray[np.int64]
ClassKey = int | tuple[int, ...]
ClassLocations = dict[ClassKey, Locations | list[int]]
"""Class to an (n, 4) array of channel (0), z, y, x; an empty list without voxels, as in nnU-Net."""

SEED = 1234
MIN_SAMPLES = 10_000
MIN_SHARE = 0.01


def classes_to_locate(labels: Labels) -> tuple[ClassKey, ...]:
    """The classes whose locations are stored: regions, or without them the foreground labels.

    With an ignore label also everything that is annotated, background and outside (-1) included.
    """
    classes: tuple[ClassKey, ...] = labels.regions or labels.foreground_labels
    if labels.ignore_label is not None:
        classes = (*classes, (-1, *labels.all_labels))
    return classes


def sample_class_locations(volume: Labelled, classes: Sequence[ClassKey]) -> ClassLocations:
    """Sample voxels of each class from an integer segmentation (z, y, x)."""
    labels = {label for key in classes for label in _labels_of(key)}
    counts = _counts_by_plane(volume, labels)
    random = np.random.RandomState(SEED)
    result: ClassLocations = {}
    for key in classes:
        present = [label for label in _labels_of(key) if label in counts]
        if not present:
            result[key] = []
            continue
        totals = [int(counts[label].sum()) for label in present]
        offsets = _draw(random, sum(totals))
        locations = np.zeros((len(offsets), 4), np.int64)
        ends = np.cumsum(totals)
        which = np.searchsorted(ends, offsets, side="right")
        for index, label in enumerate(present):
            selected = np.flatnonzero(which == index)
            ranks = offsets[selected] - (ends[index] - totals[index])
            locations[selected, 1:] = _coordinates(volume, label, counts[label], ranks)
        result[key] = locations
    return result


def _labels_of(key: ClassKey) -> tuple[int, ...]:
    return key if isinstance(key, tuple) else (key,)


def _counts_by_plane(volume: Labelled, labels: set[int]) -> dict[int, Locations]:
    """The number of voxels per plane of each of these labels that occurs."""
    counts: dict[int, Locations] = {}
    for z, plane in enumerate(volume):
        low = int(plane.min())
        in_plane = np.bincount((plane.astype(np.int64) - low).ravel())
        for value in np.flatnonzero(in_plane):
            label = int(value) + low
            if label in labels:
                counts.setdefault(label, np.zeros(len(volume), np.int64))[z] = in_plane[value]
    return counts


def _draw(random: np.random.RandomState, total: int) -> Locations:
    """The numbers that `random.choice(total, n, replace=False)` gives, in half the memory."""
    number = max(min(MIN_SAMPLES, total), int(np.ceil(total * MIN_SHARE)))
    order = np.arange(total, dtype=np.int32 if total < 2**31 else np.int64)
    random.shuffle(order)
    return order[:number].astype(np.int64)


def _coordinates(volume: Labelled, label: int, counts: Locations, ranks: Locations) -> Locations:
    """Coordinates (z, y, x) of the voxels of a label with these ranks in the array's order."""
    ends = np.cumsum(counts)
    planes = np.searchsorted(ends, ranks, side="right")
    coordinates = np.empty((len(ranks), 3), np.int64)
    by_plane = np.argsort(planes, kind="stable")
    starts = np.searchsorted(planes[by_plane], np.arange(len(counts) + 1))
    for z in np.unique(planes):
        selected = by_plane[starts[z] : starts[z + 1]]
        voxels = np.flatnonzero(volume[z] == label)[ranks[selected] - (ends[z] - counts[z])]
        coordinates[selected, 0] = z
        coordinates[selected, 1], coordinates[selected, 2] = np.divmod(voxels, volume.shape[2])
    return coordinates
