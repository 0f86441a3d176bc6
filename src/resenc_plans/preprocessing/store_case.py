"""What a worker does with one case: read, preprocess, store, and say what it did."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.images.images import Image, check_same_grid, read_file, read_label
from resenc_plans.errors import DatasetError
from resenc_plans.preprocessing.case import FloatArray, Recipe, preprocess_own
from resenc_plans.preprocessing.store.case_store import write_case
from resenc_plans.preprocessing.store.manifest import FileRecord, ManifestEntry


@dataclass(frozen=True)
class CaseTask:
    """One case, with all that a worker on any machine needs to know."""

    case: Case
    reader: str
    recipe: Recipe
    recipe_digest: str
    folder: Path
    """The store; absolute, as are the paths of the case."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that the case is read from."""
        label = () if self.case.label is None else (self.case.label,)
        return (*self.case.images, *label)


def store_case(task: CaseTask) -> ManifestEntry:
    """Preprocess one case into the store.

    Raises
    ------
    DatasetError
        The case is damaged or does not fit the plans.
    FileError
        It cannot be written.
    """
    case = task.case
    missing = [path for path in task.inputs if not path.is_file()]
    if missing:
        raise DatasetError(f"{missing[0]}: no such file.")
    inputs = tuple(FileRecord.of(path) for path in task.inputs)
    images, properties = read_channels(case.images, task.reader, len(task.recipe.channels))
    labels = None if case.label is None else _read_segmentation(case.label, task.reader)
    stored = preprocess_own(images, labels, properties, task.recipe)
    del images, labels
    written = write_case(task.folder, case.name, stored, task.recipe.patch_size)
    return ManifestEntry(
        case=case.name,
        recipe=task.recipe_digest,
        inputs=inputs,
        outputs=tuple(replace(FileRecord.of(path), path=path.name) for path in written),
        shape=stored.image.shape,
    )


def read_channels(
    paths: Sequence[Path], reader: str, channels: int
) -> tuple[FloatArray, dict[str, Any]]:
    """All channels of a case (c, z, y, x) in float32, one file after the other, and properties.

    Raises
    ------
    DatasetError
        A file is unreadable, grids differ, or the number of channels is another.
    """
    if not paths:
        raise DatasetError("It has no image files.")
    first = _read_finite(paths[0], reader)
    images = np.empty((channels, *first.array.shape[1:]), np.float32)
    filled = _fill(images, 0, first)
    first = replace(first, array=_without_voxels(first))
    for path in paths[1:]:
        image = _read_finite(path, reader)
        check_same_grid((first, image), (paths[0], path))
        filled = _fill(images, filled, image)
    if filled != channels:
        raise DatasetError(
            f"It has {filled} channels in {len(paths)} files, but the plans are for {channels}. "
            "Are these the plans of another dataset?"
        )
    return images, first.properties


def _read_finite(path: Path, reader: str) -> Image:
    """Read a file, unless it has voxels that ITK would make zeros of."""
    return _finite(read_file(path, reader), path)


def _read_segmentation(path: Path, reader: str) -> Any:
    return _finite(read_label(path, reader), path).array


def _finite(image: Image, path: Path) -> Image:
    if image.not_finite:
        raise DatasetError(
            f"{path}: has voxels that are {' or '.join(sorted(image.not_finite))}. "
            "Replace them by a value that makes sense."
        )
    return image


def _fill(images: FloatArray, filled: int, image: Image) -> int:
    """Copy as many channels as there is room for; the number of channels so far."""
    room = images[filled : filled + len(image.array)]
    room[...] = image.array[: len(room)]
    return filled + len(image.array)


def _without_voxels(image: Image) -> Any:
    """An array of the same shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), image.array.dtype), image.array.shape)
