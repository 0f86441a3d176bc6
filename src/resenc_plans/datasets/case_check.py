"""Everything that can be wrong with one case, found in one reading."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.finding import Finding, Severity
from resenc_plans.datasets.geometry import Geometry, geometry_from_properties
from resenc_plans.datasets.images import Image, read_file, read_label
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError

_SHOWN_VALUES = 10


@dataclass(frozen=True)
class CaseReport:
    """The findings about a case, and what findings about the whole dataset need of it."""

    findings: tuple[Finding, ...]
    label_values: frozenset[float] | None
    """Distinct values of the segmentation; None where it is unreadable."""
    digest: str | None
    """Of the voxels of all channels; None where one is unreadable."""


def check_case(case: Case, reader: str, channels: int, labels: Labels | None) -> CaseReport:
    """Read the files of a case and look at all that nnU-Net's integrity check does, and more."""
    findings: list[Finding] = []

    def report(severity: Severity, kind: str, path: Path | None, message: str) -> None:
        findings.append(Finding(severity, kind, case.name, path, message))

    files: list[tuple[Path, Image]] = []
    for path in case.images:
        try:
            files.append((path, read_file(path, reader)))
        except DatasetError as error:
            report("error", "unreadable-image", path, str(error))
    complete = bool(case.images) and len(files) == len(case.images)
    found = sum(len(image.array) for _, image in files)
    if complete and found != channels:
        names = ", ".join(path.name for path in case.images)
        message = f"has {found} channels ({names}), but dataset.json names {channels}."
        report("error", "wrong-channels", None, message)
    for path, image in files:
        for kind in _not_finite(image.array):
            report("error", f"{kind}-image", path, f"contains {kind} voxels. Replace them.")

    values = None
    label = _read_label(case, reader, findings)
    if label is not None and case.label is not None:
        values = distinct_values(label.array)
        for message in _unexpected(values, labels):
            report("error", "unexpected-label", case.label, message)
        if not any(value > 0 and (not labels or value != labels.ignore_label) for value in values):
            message = "has no foreground: such a case adds nothing to the fingerprint."
            report("warning", "empty-foreground", case.label, message)
        files.append((case.label, label))
    for path, image in files[1:]:
        for severity, kind, message in _off_the_grid(image, files[0][1], files[0][0].name):
            report(severity, kind, path, message)
    images = [image for _, image in files[: len(case.images)]] if complete else []
    return CaseReport(tuple(findings), values, _digest(images) if images else None)


def distinct_values(array: NDArray[Any]) -> frozenset[float]:
    """The values that occur, NaN left out; background is skipped where a box shows it.

    >>> sorted(distinct_values(np.array([[[[0, 2, 2]]]], dtype=np.uint8)))
    [0.0, 2.0]
    """
    volume = array[0]
    inside = volume[nonzero_box([volume])]
    values = {0.0} if inside.size < volume.size else set()
    if inside.dtype.kind in "iub":
        low, high = int(inside.min()), int(inside.max())
        if high - low < 1 << 16:
            present = np.zeros(high - low + 1, dtype=bool)
            for plane in inside:
                present[plane.astype(np.intp) - low] = True
            return frozenset(values.union((np.flatnonzero(present) + low).tolist()))
    for plane in inside:
        values.update(np.unique(plane[~np.isnan(plane)]).tolist())
    return frozenset(values)


def _read_label(case: Case, reader: str, findings: list[Finding]) -> Image | None:
    if case.label is None or not case.label.is_file():
        message = "the image has no segmentation. Add one, or take the image out of imagesTr."
        findings.append(Finding("error", "missing-label", case.name, case.label, message))
        return None
    try:
        label = read_label(case.label, reader)
    except DatasetError as error:
        findings.append(Finding("error", "unreadable-label", case.name, case.label, str(error)))
        return None
    for kind in _not_finite(label.array):
        message = f"contains {kind} voxels. Labels are integers."
        findings.append(Finding("error", f"{kind}-label", case.name, case.label, message))
    if len(label.array) != 1:
        message = f"has {len(label.array)} channels. A segmentation has one, of label values."
        findings.append(Finding("error", "unreadable-label", case.name, case.label, message))
        return None
    return label


def _not_finite(array: NDArray[Any]) -> Iterator[str]:
    if array.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):
        if np.isnan(array.min()):
            yield "nan"
            if np.isinf(array).any():
                yield "infinite"
        elif np.isinf(array.min()) or np.isinf(array.max()):
            yield "infinite"


def _unexpected(values: frozenset[float], labels: Labels | None) -> Iterator[str]:
    if labels is None:
        return
    expected = {*labels.all_labels, labels.ignore_label}
    unexpected = sorted(value for value in values if value not in expected)
    if unexpected:
        shown = ", ".join(f"{value:g}" for value in unexpected[:_SHOWN_VALUES])
        more = f" and {len(unexpected) - _SHOWN_VALUES} more" * (len(unexpected) > _SHOWN_VALUES)
        fractions = any(value != int(value) for value in unexpected if np.isfinite(value))
        yield f"has the values {shown}{more}, which dataset.json does not name." + (
            " Some are fractions: was it resampled with interpolation?" if fractions else ""
        )


def _off_the_grid(image: Image, first: Image, name: str) -> Iterator[tuple[Severity, str, str]]:
    shape, expected = image.array.shape[1:], first.array.shape[1:]
    if shape != expected:
        yield "error", "shape-mismatch", f"has the shape {shape}, but {name} has {expected}."
    if not np.allclose(image.spacing, first.spacing):
        message = f"has the spacing {_numbers(image.spacing)} mm, but {name} has " + (
            f"{_numbers(first.spacing)} mm."
        )
        yield "error", "spacing-mismatch", message
    here, there = _geometry(image), _geometry(first)
    if here is None or there is None or len(here.origin) != len(there.origin):
        return
    if not np.allclose(here.origin, there.origin):
        message = f"has the origin {_numbers(here.origin)}, but {name} has "
        yield "warning", "origin-mismatch", message + f"{_numbers(there.origin)}. {_ALIGNED}"
    if not np.allclose(here.direction, there.direction):
        message = f"has the direction {_numbers(here.direction)}, but {name} has "
        yield "warning", "direction-mismatch", message + f"{_numbers(there.direction)}. {_ALIGNED}"


_ALIGNED = "Look at them in a viewer: are they aligned?"


def _geometry(image: Image) -> Geometry | None:
    if image.properties.keys() & {"sitk_stuff", "nibabel_stuff"}:
        return geometry_from_properties(image.properties)[0]
    return None


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _digest(images: Sequence[Image]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.array.shape}{image.array.dtype}".encode())
        digest.update(np.ascontiguousarray(image.array).data)
    return digest.hexdigest()
