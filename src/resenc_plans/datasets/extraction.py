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
from resenc_plans.datasets.case_check import CaseReport, ReadCase, check_files, read_files
from resenc_plans.datasets.dataset import Case, Dataset, expect_dataset
from resenc_plans.datasets.file_naming import naming_fault
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.images.images import Image
from resenc_plans.datasets.images.readers import NIBABEL, NIBABEL_REORIENT
from resenc_plans.datasets.integrity import findings_of, usable_labels
from resenc_plans.datasets.intensities import (
    SAMPLES_PER_DATASET,
    CaseIntensities,
    case_intensities,
    intensity_properties,
)
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError, FingerprintError
from resenc_plans.execution.cases import CaseProblem, each_case, separate, together
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.words import counted

_OBSTACLES = "wrong-channels", "shape-mismatch"


@dataclass(frozen=True)
class CaseFingerprint:
    """What a fingerprint needs of one case; axes z, y, x."""

    spacing: tuple[float, float, float]
    shape_after_crop: tuple[int, ...]
    relative_size: float
    intensities: CaseIntensities
    report: CaseReport


@dataclass(frozen=True)
class Extraction:
    """A dataset's fingerprint as nnU-Net writes it, and what `verify_dataset` finds besides."""

    document: dict[str, Any]
    findings: tuple[Finding, ...]


def extract_fingerprint(
    dataset: Dataset,
    executor: Executor | None = None,
    on_case: Callable[[str], None] | None = None,
) -> Extraction:
    """What nnU-Net's `DatasetFingerprintExtractor` writes for a dataset; each file is read once.

    Without an `executor` the cases are read by threads, one per CPU that this process may use:
    reading, decompression and drawing all release the interpreter's lock, and threads start
    at once and need no transfer of data.

    Raises
    ------
    FingerprintError
        The dataset has no cases, or some are damaged: the message lists every one of them.
    """
    expect_dataset(dataset)
    fault = naming_fault(dataset)
    if fault is not None:
        raise FingerprintError(f"{dataset.folder}: {fault.message}")
    samples = int(SAMPLES_PER_DATASET // len(dataset.cases))
    work = partial(
        fingerprint_case,
        reader=dataset.reader_name,
        channels=len(dataset.channels),
        labels=usable_labels(dataset),
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
    document = {
        "foreground_intensity_properties_per_channel": intensities,
        "median_relative_size_after_cropping": median(case.relative_size for case in cases),
        "shapes_after_crop": [list(case.shape_after_crop) for case in cases],
        "spacings": [list(case.spacing) for case in cases],
    }
    return Extraction(document, findings_of(dataset, [case.report for case in cases]))


def fingerprint_case(
    case: Case, reader: str, channels: int, labels: Labels | None, samples: int
) -> CaseFingerprint:
    """Read one case, check it, and extract what the fingerprint needs.

    Raises
    ------
    DatasetError
        A file is unreadable, or the files do not fit together.
    """
    files = read_files(case, reader)
    report = check_files(files, channels, labels)
    obstacles = [f.message for f in report.findings if _is_obstacle(f, files, reader)]
    if obstacles or files.label is None:
        raise DatasetError(" ".join(obstacles))
    images = list(files.images.values())
    volumes = [_single_precision(volume) for image in images for volume in image.array]
    box = nonzero_box(volumes)
    shape = tuple(axis.stop - axis.start for axis in box)
    return CaseFingerprint(
        spacing=images[0].spacing,
        shape_after_crop=shape,
        relative_size=prod(shape) / volumes[0].size,
        intensities=case_intensities(
            _foreground([volume[box] for volume in volumes], files.label.array[0][box]), samples
        ),
        report=report,
    )


def _is_obstacle(finding: Finding, files: ReadCase, reader: str) -> bool:
    """Whether nnU-Net could not compute the fingerprint of a case, or would get NaN."""
    is_label = finding.path == files.case.label
    if finding.rule == "spacing-mismatch":
        return not is_label
    if finding.rule in ("nan-image", "nan-label"):
        image = files.label if is_label or finding.path is None else files.images[finding.path]
        return image is not None and _is_nan_for_nnunet(image, reader)
    return finding.rule in _OBSTACLES or finding in files.unreadable


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
            f"{dataset.folder}: {len(problems)} of {counted(len(outcomes), 'case is', 'cases are')}"
            f" damaged, so there is no fingerprint. Repair or remove them:{lines}"
        )
    return cases
