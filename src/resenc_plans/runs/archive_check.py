"""What an archive of a model may hold: paths that stay inside, of sane size, and plain data."""

import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import ModelError, ResencPlansError
from resenc_plans.files import fault_of_part, read_json
from resenc_plans.folders import DATASET_JSON, PLANS_JSON, POSTPROCESSING_PKL, dataset_id
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.model_folder import is_model_folder
from resenc_plans.runs.postprocessing_files import read_steps
from resenc_plans.safe_pickle import load_pickle

MAX_ENTRIES = 200_000
"""A cross-validation of 10,000 cases with all its folds has fewer files."""

_DRIVE = re.compile(r"^[A-Za-z]:")
_LITTER = "__MACOSX/"
"""What macOS adds to archives; it is skipped."""
_CHECKPOINTS = (".pth", ".pt")
_PICKLES = (".pkl", ".pickle", ".model")


def checked_entries(
    source: zipfile.ZipFile, archive: Path, max_bytes: int
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files of an archive with their paths, after all entries have been checked.

    Raises
    ------
    ModelError
        A path is absolute, has a drive letter, a backslash or `..`, does not begin with a dataset's
        folder, or occurs twice; an entry is a link, a device or encrypted; or all together are
        larger than `max_bytes`.
    """
    entries = source.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ModelError(f"{archive}: refused, it has {len(entries):,} entries.")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise ModelError(
            f"{archive}: refused, it unpacks to {total / 1024**3:,.1f} GiB, which is more than "
            f"the limit of {max_bytes / 1024**3:,.1f} GiB. Raise the limit if you trust it."
        )
    seen: set[str] = set()
    paths = []
    for entry in entries:
        if entry.filename.startswith(_LITTER) or entry.filename.endswith("/.DS_Store"):
            continue
        fault = _fault_of_entry(entry, seen)
        if fault:
            raise ModelError(f"{archive}: refused, the entry {entry.orig_filename!r} {fault}.")
        if not entry.is_dir():
            paths.append((entry, PurePosixPath(entry.filename)))
    yield from paths


def check_contents(folder: Path, archive: str) -> tuple[Path, ...]:
    """Check the files of an unpacked archive; returns its model folders, relative to `folder`.

    Raises
    ------
    ModelError
        There is no model; plans.json or dataset.json is not that; a checkpoint or a pickle is
        damaged or would call something.
    """
    models = sorted(path for path in folder.glob("*/*") if is_model_folder(path))
    if not models:
        raise ModelError(
            f"{archive}: refused, there is no model in it (DatasetXXX_Name/"
            f"TRAINER__PLANS__CONFIGURATION/{PLANS_JSON})."
        )
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            _check_file(path)
        except ResencPlansError as error:
            reason = str(error).replace(f"{folder}/", "")
            raise ModelError(f"{archive}: refused. {reason}") from None
    for model in models:
        if not (model / DATASET_JSON).is_file():
            name = model.relative_to(folder)
            raise ModelError(f"{archive}: refused, {name} has no {DATASET_JSON}.")
    return tuple(model.relative_to(folder) for model in models)


def _fault_of_entry(entry: zipfile.ZipInfo, seen: set[str]) -> str | None:
    name = entry.orig_filename
    if name.startswith("/") or _DRIVE.match(name):
        return "is an absolute path"
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder, or is not a plain path"
    for part in parts:
        fault = fault_of_part(part)
        if fault is not None:
            return f"has a part that cannot name a file or a folder: {fault}"
    if any(part.startswith(".") for part in parts):
        return "is a hidden file or folder"
    if dataset_id(parts[0]) is None:
        return "does not begin with a dataset's folder such as Dataset004_Hippocampus"
    if not entry.is_dir() and len(parts) < 2:
        return "is a file where a dataset's folder was expected"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if entry.flag_bits & 1:
        return "is encrypted"
    folded = name.removesuffix("/").casefold()
    if folded in seen:
        return "occurs twice"
    seen.add(folded)
    return None


def _check_file(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in _CHECKPOINTS:
        from resenc_plans.runs.checkpoint import load_checkpoint

        load_checkpoint(path)
    elif path.name == POSTPROCESSING_PKL:
        read_steps(path)
    elif suffix in _PICKLES:
        load_pickle(path)
    elif path.name == PLANS_JSON:
        Plans.load(path)
    elif path.name == DATASET_JSON:
        DatasetJson.load(path)
    elif suffix == ".json":
        read_json(path)
