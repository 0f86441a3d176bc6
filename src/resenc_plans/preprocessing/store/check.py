"""Check a store: decompress every case, compare shapes and digests."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import FileError, PreprocessingError
from resenc_plans.execution.cases import CaseProblem, each_case, separate
from resenc_plans.preprocessing.store.case_store import CaseStore, LazyArray
from resenc_plans.preprocessing.store.manifest import FileRecord, Manifest, ManifestEntry

PLANES_AT_ONCE = 64
MAX_BYTES_AT_ONCE = 256 * 1024**2


@dataclass(frozen=True)
class StoreCheck:
    """The result of a check."""

    folder: Path
    cases: tuple[str, ...]
    """All cases that were checked."""
    problems: tuple[CaseProblem, ...]
    """At most one per case: the first fault."""


def check_store(
    folder: str | os.PathLike[str], on_case: Callable[[str], None] | None = None
) -> StoreCheck:
    """Verify every stored case, and every case that the manifest says is stored.

    Cases without an entry in the manifest, such as nnU-Net's own, are only opened and
    decompressed. `on_case` is called in this thread with the name of each finished case.

    Raises
    ------
    FileError
        There is no such folder, or its manifest cannot be read.
    """
    store = CaseStore(folder)
    entries = Manifest(folder).read()
    names = tuple(sorted({*store, *entries}))
    results = each_case(
        lambda name: check_stored_case(store, name, entries.get(name)), names, on_case=on_case
    )
    return StoreCheck(store.folder, names, separate(results)[1])


def check_stored_case(store: CaseStore, name: str, entry: ManifestEntry | None) -> None:
    """Compare a case with its entry in the manifest, and decompress it.

    Raises
    ------
    PreprocessingError, FileError
        The first fault.
    """
    for record in entry.outputs if entry else ():
        _compare(store.folder / record.path, record)
    case = store[name]
    where = f"{store.folder}: {name}"
    image, labels = tuple(case.image.shape), tuple(case.labels.shape)
    if image[1:] != labels[1:]:
        raise PreprocessingError(f"{where}: the image has the shape {image}, its labels {labels}.")
    if entry is not None and image != entry.shape:
        raise PreprocessingError(
            f"{where}: has the shape {image}, but the manifest has {entry.shape}."
        )
    _decompress(case.image)
    _decompress(case.labels)


def _compare(path: Path, record: FileRecord) -> None:
    try:
        current = FileRecord.of(path)
    except (OSError, FileError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(f"{reason} Preprocess the case again.") from None
    if current.sha256 != record.sha256:
        raise FileError(
            f"{path}: differs from what was stored (another digest, {current.size} bytes instead "
            f"of {record.size}). Preprocess the case again."
        )


def _decompress(array: LazyArray) -> None:
    """Read all of an array, some planes at a time."""
    plane = array.shape[0] * array.shape[2] * array.shape[3] * array.dtype.itemsize
    planes = max(1, min(PLANES_AT_ONCE, MAX_BYTES_AT_ONCE // max(1, plane)))
    for z in range(0, array.shape[1], planes):
        array[:, z : z + planes]
