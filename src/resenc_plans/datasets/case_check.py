"""Everything that can be wrong with one case, checked while it is read once."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.finding import Finding, Severity
from resenc_plans.datasets.images.geometry import Geometry, geometry_from_properties
from resenc_plans.datasets.images.images import Image, read_file, read_label
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError
from resenc_plans.words import counted

_MAX_VALUES = 10
_ALIGNED = "Look at them in a viewer: are they aligned?"
_KINDS = {"nan": "NaN", "infinite": "infinite"}
_OTHER_GRID = "shape-mismatch", "spacing-mismatch"
_RESAMPLED = " Was one of them resampled or cropped without the other?"


@dataclass(frozen=True)
class CaseReport:
    """The findings about a case, and what findings about the whole dataset need of it."""

    case: str
    findings: tuple[Finding, ...]
    label_values: frozenset[float] | None
    """Distinct values of the segmentation; None where it is unreadable."""
    digest: str | None
    """Of the voxels of all channels; None where one is unreadable."""


@dataclass(frozen=True)
class ReadCase:
    """The files of a case that could be read, and what kept others from being read."""

    case: Case
    images: dict[Path, Image]
    label: Image | None
    unreadable: tuple[Finding, ...]


def read_files(case: Case, reader: str) -> ReadCase:
    """Read all files of a case; one that is unreadable stops no other."""
    images: dict[Path, Image] = {}
    unreadable: list[Finding] = []
    for path in case.images:
        try:
            images[path] = read_file(path, reader)
        except DatasetError as error:
            unreadable.append(
                Finding("unreadable-image", "error", str(error), case=case.name, path=path)
            )
    label = _read_label(case, reader)
    if isinstance(label, Finding):
        return ReadCase(case, images, None, (*unreadable, label))
    return ReadCase(case, images, label, tuple(unreadable))


def check_case(case: Case, reader: str, channels: int, labels: Labels | None) -> CaseReport:
    """Read the files of a case and check all that nnU-Net's integrity check does, and more."""
    return check_files(read_files(case, reader), channels, labels)


def check_files(files: ReadCase, channels: int, labels: Labels | None) -> CaseReport:
    """Check the files of a case, which have been read."""
    case, images = files.case, files.images
    findings = list(files.unreadable)

    def add(severity: Severity, kind: str, path: Path | None, message: str) -> None:
        findings.append(Finding(kind, severity, message, case=case.name, path=path))

    for path, image in images.items():
        for kind in sorted(image.not_finite):
            what = _KINDS[kind]
            message = f"{path.name} contains {what} voxels. Replace them (ITK may do so by 0)."
            add("error", f"{kind}-image", path, message)
    complete = bool(images) and len(images) == len(case.images)
    channel_count = sum(len(image.array) for image in images.values())
    if complete and channel_count != channels:
        names = ", ".join(path.name for path in images)
        message = (
            f"The case has {channel_count} channel{'s' * (channel_count > 1)} ({names}), "
            f"but dataset.json names {channels}."
        )
        add("error", "wrong-channels", None, message)

    values = None
    grids = list(images.items())
    label = files.label
    for path, image in grids[1:]:
        if len(image.array) != len(grids[0][1].array):
            message = (
                f"{path.name} has {counted(len(image.array), 'channel')}, but {grids[0][0].name} "
                f"has {len(grids[0][1].array)}. All files of a case need the same number."
            )
            add("error", "wrong-channels", path, message)
    if label is not None and len(label.array) != 1:
        message = (
            f"The segmentation has {counted(len(label.array), 'channel')}, but should have one."
        )
        add("error", "unreadable-label", case.label, message)
    elif label is not None and case.label is not None:
        values = distinct_values(label.array)
        grids.append((case.label, label))
        for severity, kind, what in _about_label(label, values, labels):
            add(severity, kind, case.label, f"{case.label.name} {what}")
    for path, image in grids[1:]:
        findings += check_grid(case, path, image, grids[0][1])
    digest = _digest(images.values()) if complete else None
    return CaseReport(case.name, tuple(findings), values, digest)


def check_grid(case: Case, path: Path, image: Image, first: Image) -> Iterator[Finding]:
    """Where shape, spacing, origin or direction of a case's file are not its first image's."""
    for severity, kind, what in _off_the_grid(image, first, case.images[0].name):
        cause = _RESAMPLED if path == case.label and kind in _OTHER_GRID else ""
        yield Finding(kind, severity, f"{path.name} {what}{cause}", case=case.name, path=path)


def distinct_values(array: NDArray[Any]) -> frozenset[float]:
    """The finite values that occur in a segmentation `(1, z, y, x)`.

    >>> sorted(distinct_values(np.array([[[[0, 2, 2]]]], dtype=np.uint8)))
    [0, 2]
    """
    volume = array[0]
    inside = volume[nonzero_box([volume])]
    values: set[float] = {0} if inside.size < volume.size else set()
    if inside.dtype.kind in "iub":
        low, high = int(inside.min()), int(inside.max())
        if high - low < 1 << 16:
            present = np.zeros(high - low + 1, dtype=bool)
            for plane in inside:
                present[plane.astype(np.intp) - low] = True
            return frozenset(values.union((np.flatnonzero(present) + low).tolist()))
    for plane in inside:
        values.update(np.unique(plane[np.isfinite(plane)]).tolist())
    return frozenset(values)


def _read_label(case: Case, reader: str) -> Image | Finding:
    path = case.label
    if path is None or not path.is_file():
        where = "" if path is None else f" {path.name}"
        message = f"The image has no segmentation{where}. Add one, or remove the image."
        return Finding("missing-label", "error", message, case=case.name, path=path)
    try:
        return read_label(path, reader)
    except DatasetError as error:
        return Finding("unreadable-label", "error", str(error), case=case.name, path=path)


def _about_label(
    label: Image, values: frozenset[float], labels: Labels | None
) -> Iterator[tuple[Severity, str, str]]:
    for kind in sorted(label.not_finite):
        yield "error", f"{kind}-label", f"contains {_KINDS[kind]} voxels. Labels are integers."
    expected = {*labels.all_labels, labels.ignore_label} if labels else values
    unexpected = sorted(value for value in values if value not in expected)
    if unexpected:
        listed = ", ".join(f"{value:g}" for value in unexpected[:_MAX_VALUES])
        more = f" and {len(unexpected) - _MAX_VALUES} more" * (len(unexpected) > _MAX_VALUES)
        message = f"has the values {listed}{more}, which dataset.json does not name."
        if any(value % 1 for value in unexpected):
            message += " Some are fractions: was it resampled with interpolation?"
        yield "error", "unexpected-label", message
    ignored = labels.ignore_label if labels else None
    if not any(value > 0 and value != ignored for value in values):
        message = "has no foreground, so the case adds nothing to the fingerprint."
        yield "warning", "empty-foreground", message


def _off_the_grid(image: Image, first: Image, name: str) -> Iterator[tuple[Severity, str, str]]:
    shape, expected = image.array.shape[1:], first.array.shape[1:]
    if shape != expected:
        yield "error", "shape-mismatch", f"has the shape {shape}, but {name} has {expected}."
    if not np.allclose(image.spacing, first.spacing):
        message = f"has the spacing {_numbers(image.spacing)} mm, but {name} has " + (
            f"{_numbers(first.spacing)} mm."
        )
        yield "error", "spacing-mismatch", message
    geometry, reference = _geometry(image), _geometry(first)
    if geometry is None or reference is None or len(geometry.origin) != len(reference.origin):
        return
    for kind in ("origin", "direction"):
        values, expected_values = getattr(geometry, kind), getattr(reference, kind)
        if not np.allclose(values, expected_values):
            message = f"has the {kind} {_numbers(values)}, but {name} has "
            yield "warning", f"{kind}-mismatch", f"{message}{_numbers(expected_values)}. {_ALIGNED}"


def _geometry(image: Image) -> Geometry | None:
    if image.properties.keys() & {"sitk_stuff", "nibabel_stuff"}:
        return geometry_from_properties(image.properties)[0]
    return None


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _digest(images: Iterable[Image]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.array.shape}{image.array.dtype}".encode())
        digest.update(np.ascontiguousarray(image.array).data)
    return digest.hexdigest()
