"""Whether a store is what it should be: every case decompressed, shapes and digests compared."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.execution.cases import usable_cpus
from resenc_plans.preprocessing.case_runs import CaseProblem
from resenc_plans.preprocessing.store.case_store import CaseStore, LazyArray
from resenc_plans.preprocessing.store.manifest import FileRecord, Manifest, ManifestEntry

PLANES_AT_ONCE = 64


@dataclass(frozen=True)
class StoreCheck:
    """What a check found."""

    folder: Path
    cases: tuple[str, ...]
    """All cases that were looked at."""
    problems: tuple[CaseProblem, ...]
    """At most one per case: the first fault."""


def check_store(
    folder: str | os.PathLike[str], on_case: Callable[[str], None] | None = None
) -> StoreCheck:
    """Verify every stored case, and every case that the manifest says is stored.

    Cases without an entry in the manifest, such as nnU-Net's own, are only opened and
    decompressed. `on_case` is called in this thread with the name of each case that is done.

    Raises
    ------
    FileError
        There is no such folder, or its manifest cannot be read.
    """
    store = CaseStore(folder)
    entries = Manifest(folder).read()
    names = tuple(sorted({*store, *entries}))
    problems = []
    with ThreadPoolExecutor(usable_cpus()) as threads:
        faults = threads.map(lambda name: _fault(store, name, entries.get(name)), names)
        for name, fault in zip(names, faults, strict=True):
            if fault is not None:
                problems.append(CaseProblem(name, fault))
            if on_case is not None:
                on_case(name)
    return StoreCheck(store.folder, names, tuple(problems))


def _fault(store: CaseStore, name: str, entry: ManifestEntry | None) -> str | None:
    """The first thing that is wrong with a case; None where all is well."""
    try:
        for record in entry.outputs if entry else ():
            _compare(store.folder / record.path, record)
        case = store[name]
        _decompress(case.image, store.folder / name)
        _decompress(case.labels, store.folder / name)
    except KeyError:
        return f"{store.folder / name}: has no image. Preprocess the case again."
    except ResencPlansError as error:
        return str(error)
    image, labels = tuple(case.image.shape), tuple(case.labels.shape)
    if image[1:] != labels[1:]:
        return f"{store.folder / name}: the image has the shape {image}, its labels {labels}."
    if entry is not None and image != entry.shape:
        return f"{store.folder / name}: has the shape {image}, the manifest says {entry.shape}."
    return None


def _compare(path: Path, record: FileRecord) -> None:
    try:
        found = FileRecord.of(path)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}. Preprocess the case again.") from None
    if found.sha256 != record.sha256:
        raise FileError(
            f"{path}: is not what was stored (its digest differs, {found.size} bytes instead of "
            f"{record.size}). Preprocess the case again."
        )


def _decompress(array: LazyArray, path: Path) -> None:
    """Read all of an array, some planes at a time."""
    try:
        for z in range(0, array.shape[1], PLANES_AT_ONCE):
            array[:, z : z + PLANES_AT_ONCE]
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be decompressed ({error}).") from None
