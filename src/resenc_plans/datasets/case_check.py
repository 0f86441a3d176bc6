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

_MAX_VALUES = 10
_ALIGNED = "Look at them in a viewer: are they aligned?"


@dataclass(frozen=True)
class CaseReport:
    """The findings about a case, and what findings about the whole dataset need of it."""

    findings: tuple[Finding, ...]
    label_values: frozenset[float] | None
    """Distinct values of the segmentation; None where it is unreadable."""
    digest: str | None
    """Of the voxels of all channels; None where one is unreadable."""


def check_case(case: Case, reader: str, channels: int, labels: Labels | None) -> CaseReport:
    """Read the files of a case and check all that nnU-Net's integrity check does, and more."""
    findings: list[Finding] = []

    def add(severity: Severity, kind: str, path: Path | None, message: str) -> None:
        findings.append(Finding(kind, severity, message, case=case.name, path=path))

    images: dict[Path, Image] = {}
    for path in case.images:
        try:
            images[path] = read_file(path, reader)
        except DatasetError as error:
            add("error", "unreadable-image", path, str(error))
    for path, image in images.items():
        for kind in sorted(image.not_finite):
            message = f"{path.name} contains {kind} voxels. Replace them (ITK may do so by 0)."
            add("error", f"{kind}-image", path, message)
    complete = bool(images) and len(images) == len(case.images)
    channel_count = sum(len(image.array) for image in images.values())
    if complete and channel_count != channels:
        names = ", ".join(path.name for path in images)
        message = (
            f"The case has {channel_count} channels ({names}), but dataset.json names {channels}."
        )
        add("error", "wrong-channels", None, message)

    values = None
    grids = list(images.items())
    label = _read_label(case, reader)
    if isinstance(label, Finding):
        findings.append(label)
    elif case.label is not None:
        values = distinct_values(label.array)
        grids.append((case.label, label))
        for severity, kind, what in _about_label(label, values, labels):
            add(severity, kind, case.label, f"{case.label.name} {what}")
    for path, image in grids[1:]:
        for severity, kind, what in _off_the_grid(image, grids[0][1], grids[0][0].name):
            add(severity, kind, path, f"{path.name} {what}")
    return CaseReport(tuple(findings), values, _digest(images.values()) if complete else None)


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
        message = "The image has no segmentation. Add one, or remove the image."
        return Finding("missing-label", "error", message, case=case.name, path=path)
    try:
        label = read_label(path, reader)
    except DatasetError as error:
        return Finding("unreadable-label", "error", str(error), case=case.name, path=path)
    if len(label.array) != 1:
        message = f"{path.name} has {len(label.array)} channels. A segmentation has one."
        return Finding("unreadable-label", "error", message, case=case.name, path=path)
    return label


def _about_label(
    label: Image, values: frozenset[float], labels: Labels | None
) -> Iterator[tuple[Severity, str, str]]:
    for kind in sorted(label.not_finite):
        yield "error", f"{kind}-label", f"contains {kind} voxels. Labels are integers."
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
