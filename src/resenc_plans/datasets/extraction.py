"""The computation of a fingerprint: one case at a time, in any order, then all together."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from operator import attrgetter
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.datasets.dataset import Case, Dataset
from resenc_plans.datasets.images.images import Image, check_same_grid, read_file, read_label
from resenc_plans.datasets.images.readers import NIBABEL, NIBABEL_REORIENT
from resenc_plans.datasets.intensities import (
    SAMPLES_PER_DATASET,
    CaseIntensities,
    case_intensities,
    intensity_properties,
)
from resenc_plans.errors import DatasetError, FingerprintError
from resenc_plans.execution.cases import CaseProblem, each_case, separate, together
from resenc_plans.execution.cpus import usable_cpus


@dataclass(frozen=True)
class CaseFingerprint:
    """What a fingerprint needs of one case; axes z, y, x."""

    spacing: tuple[float, float, float]
    shape_after_crop: tuple[int, ...]
    relative_size: float
    intensities: CaseIntensities


def extract_fingerprint(
    dataset: Dataset,
    executor: Executor | None = None,
    on_case: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The document that nnU-Net's `DatasetFingerprintExtractor` writes for a dataset.

    Without an `executor` the cases are read by threads, one per CPU that this process may use:
    reading, decompression and drawing all release the interpreter's lock, and threads start
    at once and need no transfer of data.

    Raises
    ------
    FingerprintError
        The dataset has no cases, or some are damaged: the message lists every one of them.
    """
    if not dataset.cases:
        raise FingerprintError(
            f"{dataset.folder}: has no training cases. nnU-Net looks for files "
            f"imagesTr/CASE_0000{dataset.json.file_ending}."
        )
    samples = int(SAMPLES_PER_DATASET // len(dataset.cases))
    work = partial(
        fingerprint_case,
        reader=dataset.reader_name,
        channels=len(dataset.channels),
        samples=samples,
    )
    with ThreadPoolExecutor(usable_cpus()) as threads:
        outcomes = each_case(
            work,
            dataset.cases,
            name=attrgetter("name"),
            executor=executor or threads,
            on_case=on_case,
        )
        cases = _undamaged(outcomes, dataset)
        intensities = intensity_properties([case.intensities for case in cases], samples, threads)
    return {
        "foreground_intensity_properties_per_channel": intensities,
        "median_relative_size_after_cropping": median(case.relative_size for case in cases),
        "shapes_after_crop": [list(case.shape_after_crop) for case in cases],
        "spacings": [list(case.spacing) for case in cases],
    }


def fingerprint_case(case: Case, reader: str, channels: int, samples: int) -> CaseFingerprint:
    """Read one case and extract what the fingerprint needs.

    Raises
    ------
    DatasetError
        A file is unreadable, or the files do not fit together.
    """
    if not case.images or case.label is None:
        raise DatasetError("The case has no image, or no label.")
    images = [read_file(path, reader) for path in case.images]
    check_same_grid(images, case.images)
    volumes = [_single_precision(volume) for image in images for volume in image.array]
    if len(volumes) != channels:
        raise DatasetError(
            f"The case has {len(volumes)} channels, but dataset.json names {channels}."
        )
    label = read_label(case.label, reader)
    if label.array.shape[1:] != volumes[0].shape:
        raise DatasetError(
            f"{case.label}: has the shape {label.array.shape[1:]}, but the image has "
            f"{volumes[0].shape} (z, y, x)."
        )
    for image, path in zip([*images, label], [*case.images, case.label], strict=True):
        if _is_nan_for_nnunet(image, reader):
            raise DatasetError(f"{path}: contains NaN. Replace it with a finite value.")
    box = nonzero_box(volumes)
    shape = tuple(axis.stop - axis.start for axis in box)
    return CaseFingerprint(
        spacing=images[0].spacing,
        shape_after_crop=shape,
        relative_size=prod(shape) / volumes[0].size,
        intensities=case_intensities(
            _foreground([volume[box] for volume in volumes], label.array[0][box]), samples
        ),
    )


def _is_nan_for_nnunet(image: Image, reader: str) -> bool:
    """Whether nnU-Net would read NaN: not where ITK has replaced it by zero."""
    as_read = image.array.dtype.kind == "f" and bool(np.isnan(image.array.min()))
    return as_read or ("nan" in image.not_finite and reader in (NIBABEL, NIBABEL_REORIENT))


def _single_precision(volume: NDArray[Any]) -> NDArray[Any]:
    return volume.astype(np.float32) if volume.dtype == np.float64 else volume


def _foreground(volumes: Sequence[NDArray[Any]], label: NDArray[Any]) -> list[NDArray[Any]]:
    """The voxels of each volume where the label is positive, in the order of the array."""
    box = nonzero_box([label])
    mask = label[box] > 0
    return [volume[box][mask] for volume in volumes]


def _undamaged(
    outcomes: Sequence[CaseFingerprint | CaseProblem], dataset: Dataset
) -> tuple[CaseFingerprint, ...]:
    cases, problems = separate(outcomes)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in together(problems))
        raise FingerprintError(
            f"{dataset.folder}: {len(problems)} of {len(outcomes)} cases are damaged, so there is "
            f"no fingerprint. Repair or remove them:{lines}"
        )
    return cases
