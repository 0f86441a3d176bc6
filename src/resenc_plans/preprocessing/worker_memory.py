"""How much memory preprocessing a case takes at most, and how many workers fit into memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.images import itk
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.files import check_regular
from resenc_plans.preprocessing.case import Recipe
from resenc_plans.preprocessing.resampling.functions import changes_grid, computes_with_torch
from resenc_plans.preprocessing.resampling.resample import resampled_shape, scratch_bytes

PROCESS_BYTES = 300 * 1024**2
"""A worker process with its libraries, before it reads anything."""

USABLE_SHARE = 0.8
"""The share of the free memory that the workers may fill."""

TORCH_BYTES = 200 * 1024**2
"""PyTorch, once it is loaded."""

_MAX_VOXEL_BYTES = 8


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file, read without its voxels; axes z, y, x."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    itemsize: int


def read_header(path: Path) -> ImageHeader | None:
    """The header of an image file, None if it cannot be read."""
    try:
        check_regular(path)
        reader = itk.read_header(path)
    except (FileError, DatasetError, RuntimeError):
        return None
    shape, spacing = reader.GetSize()[::-1], reader.GetSpacing()[::-1]
    if len(shape) == 2:
        shape, spacing = (1, *shape), (999 * max(spacing), *spacing)
    described = itk.simpleitk().GetPixelIDValueAsString(reader.GetPixelID())
    sizes = (bits // 8 for bits in (8, 16, 32, 64) if f"{bits}-bit" in described)
    return ImageHeader(shape[-3:], spacing[-3:], next(sizes, _MAX_VOXEL_BYTES))


def case_bytes(
    shape: Sequence[int], new_shape: Sequence[int], channels: int, itemsize: int = 4
) -> int:
    """The most that preprocessing a case holds at once, beside the process itself, in bytes.

    Parameters
    ----------
    shape, new_shape
        Of the image as read, and as stored.
    channels
        Number of its channels.
    itemsize
        Bytes per voxel in the file.

    The images are in memory throughout, in float32, and the segmentation, as read and in small
    integers. The largest addition is the file as it is read (twice, in SimpleITK and in NumPy), or
    the numbered regions of `mark_outside`, or the resampled images with their window, or the order
    in which class locations are drawn.

    >>> case_bytes((100, 100, 100), (100, 100, 100), channels=1) / 1e6
    16.0
    """
    before, after = prod(shape), prod(new_shape)
    images = 4 * channels * before
    labels = 3 * before
    reading = 2 * itemsize * before
    marking = 9 * before
    resampling = 4 * channels * after + 4 * after
    if tuple(shape) != tuple(new_shape):
        resampling += scratch_bytes(shape, new_shape)
    locating = 6 * after
    return images + labels + max(reading, marking, resampling, locating)


def torch_bytes(shape: Sequence[int], new_shape: Sequence[int]) -> int:
    """What resampling with torch holds beside images and labels: the library, and indicators.

    Of each label in turn an indicator is resampled in float32 and compared with the best so far.
    """
    return TORCH_BYTES + 10 * prod(shape) + 12 * prod(new_shape)


def memory_of_case(case: Case, recipe: Recipe) -> int:
    """The most that preprocessing a case takes, by its first image's header, in bytes.

    The cropped region is not known before reading, so the whole image counts. A file without a
    readable header counts as nothing.
    """
    header = read_header(case.images[0]) if case.images else None
    if header is None or min(header.shape) < 1 or min(header.spacing) <= 0:
        return PROCESS_BYTES
    shape = tuple(header.shape[axis] for axis in recipe.transpose_forward)
    spacing = tuple(header.spacing[axis] for axis in recipe.transpose_forward)
    new_shape = resampled_shape(shape, spacing, recipe.target_spacing(spacing))
    new_shape = tuple(max(1, length) for length in new_shape)
    functions = recipe.resample_image, recipe.resample_labels
    if not any(map(changes_grid, functions)):
        new_shape = shape
    needed = PROCESS_BYTES + case_bytes(shape, new_shape, len(recipe.channels), header.itemsize)
    if any(map(computes_with_torch, functions)):
        needed += torch_bytes(shape, new_shape)
    return needed


def workers_that_fit(needs: Iterable[int], cpus: int, free: int | None) -> int:
    """How many workers may run at once, if the most demanding cases came together.

    >>> workers_that_fit([10, 4, 3, 3], cpus=8, free=20)
    2
    """
    sizes = sorted(needs, reverse=True)
    most = max(1, min(cpus, len(sizes)))
    if free is None:
        return most
    number = 1
    while number < most and sum(sizes[: number + 1]) <= USABLE_SHARE * free:
        number += 1
    return number
