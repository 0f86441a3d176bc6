"""What a worker does with one case: read, preprocess, store, and record it."""

from dataclasses import dataclass, replace
from pathlib import Path

from resenc_plans.datasets.case_check import check_grid
from resenc_plans.datasets.dataset import Case
from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.images.images import Image, check_finite, read_channels, read_label
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.execution.locks import HeldLock, LockWatch
from resenc_plans.preprocessing.case import Recipe, preprocess_in_place
from resenc_plans.preprocessing.store.case_store import write_case
from resenc_plans.preprocessing.store.manifest import FileRecord, ManifestEntry


@dataclass(frozen=True)
class CaseTask:
    """One case, with everything that a worker on any machine needs."""

    case: Case
    reader: str
    recipe: Recipe
    recipe_digest: str
    folder: Path
    """The store; absolute, as are the paths of the case."""
    run: HeldLock | None = None
    """The lock of the run that the case is for: once that has ended, nothing more is stored."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that the case is read from."""
        label = () if self.case.label is None else (self.case.label,)
        return (*self.case.images, *label)


@dataclass(frozen=True)
class StoredCaseFiles:
    """A case that was stored."""

    entry: ManifestEntry
    findings: tuple[Finding, ...]
    """How the segmentation lies elsewhere than the image."""


def store_case(task: CaseTask) -> StoredCaseFiles:
    """Preprocess one case into the store.

    Raises
    ------
    DatasetError
        The case is damaged or does not fit the plans.
    FileError
        It cannot be written, or the run that it is for has ended.
    """
    case = task.case
    watch = None if task.run is None else LockWatch(task.run)
    if watch is not None:
        watch.expect_held()
    try:
        inputs = tuple(FileRecord.of(path) for path in task.inputs)
    except FileError as error:
        raise DatasetError(str(error)) from None
    image = read_channels(case.images, len(task.recipe.channels), task.reader)
    images, properties = image.array, image.properties
    labels, findings = None, tuple[Finding, ...]()
    if case.label is not None:
        label = _read_segmentation(case.label, task.reader)
        labels, findings = label.array, tuple(check_grid(case, case.label, label, image))
        del label
    del image
    stored = preprocess_in_place(images, labels, properties, task.recipe)
    del images, labels
    written = write_case(task.folder, case.name, stored, task.recipe.patch_size, run=watch)
    entry = ManifestEntry(
        case=case.name,
        recipe=task.recipe_digest,
        inputs=inputs,
        outputs=tuple(replace(FileRecord.of(path), path=path.name) for path in written),
        shape=stored.image.shape,
    )
    return StoredCaseFiles(entry, findings)


def _read_segmentation(path: Path, reader: str) -> Image:
    label = read_label(path, reader)
    check_finite(label, path)
    return label
