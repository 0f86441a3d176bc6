"""What a store was made from: a small file beside the cases, so that a rerun does the rest only.

One line of JSON per case, appended when the case is stored. A line that a crash cut short is
ignored; of several lines about a case the last counts.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import FileError
from resenc_plans.files import (
    append,
    fault_of_part,
    make_folder,
    open_regular,
    parse_json,
    replace_file,
)
from resenc_plans.plans.configuration import PREPROCESSING_KEYS, ResolvedConfiguration
from resenc_plans.preprocessing.resampling.labels import LabelRule
from resenc_plans.preprocessing.store.case_store import OWN_FOLDER

RESULTS_VERSION = 1
"""To be raised whenever preprocessing changes the arrays or properties that it stores."""

MANIFEST = "manifest.jsonl"

WITHOUT_INTENSITIES = {
    "ZScoreNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
}
"""Normalisations that do not read the plans' intensity properties."""


@dataclass(frozen=True)
class FileRecord:
    """A file as it was."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """Read a file and record it."""
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(str(path), status.st_size, status.st_mtime_ns, digest)

    def matches(self, path: Path) -> bool:
        """Whether a file has the same content; it is only read where its time has changed.

        One that cannot be read has not: what needs it will say why.
        """
        try:
            status = path.stat()
            if status.st_size != self.size:
                return False
            return status.st_mtime_ns == self.mtime_ns or FileRecord.of(path).sha256 == self.sha256
        except (OSError, FileError):
            return False


@dataclass(frozen=True)
class ManifestEntry:
    """A stored case: from which files, by which recipe, into which files."""

    case: str
    recipe: str
    """Digest of everything else that the stored arrays depend on (`recipe_digest`)."""
    inputs: tuple[FileRecord, ...]
    outputs: tuple[FileRecord, ...]
    """Paths are names within the store."""
    shape: tuple[int, ...]
    """The image's shape (c, z, y, x)."""

    def is_fresh(self, folder: Path, recipe: str, inputs: Sequence[Path]) -> bool:
        """Whether the case need not be preprocessed again."""
        return (
            self.recipe == recipe
            and len(self.inputs) == len(inputs)
            and all(_has_size(folder / record.path, record.size) for record in self.outputs)
            and all(r.matches(path) for r, path in zip(self.inputs, inputs, strict=True))
        )


class Manifest:
    """The manifest of a store, on disk."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / OWN_FOLDER / MANIFEST

    def read(self) -> dict[str, ManifestEntry]:
        """The entries by case; damaged lines are omitted, so that their cases are done again."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise FileError(f"{self.path}: cannot be read: {error.strerror}.") from None
        entries = {}
        for line in lines:
            entry = _parsed(line)
            if entry is not None:
                entries[entry.case] = entry
        return entries

    def write(self, entries: Iterable[ManifestEntry]) -> None:
        """Replace the manifest, whole or not at all."""
        make_folder(self.path.parent)
        with replace_file(self.path) as stream:
            stream.write(b"".join(_line(entry) for entry in entries))

    def append(self, entry: ManifestEntry) -> None:
        """Add a case that has just been stored."""
        append(self.path, b"\n" + _line(entry))


def recipe_digest(config: ResolvedConfiguration, dataset_json: DatasetJson, rule: LabelRule) -> str:
    """Digest of everything but the images that determines what is stored.

    The patch size is not part of it, though the shapes of blocks depend on it: plans that share a
    data_identifier differ in it, and read each other's cases.
    """
    document = config.to_dict()
    plans_document = config.plans.to_dict()
    dataset_document = dataset_json.to_dict()
    needless = set(config.normalization_schemes) <= WITHOUT_INTENSITIES
    parts = {
        "version": RESULTS_VERSION,
        "configuration": {key: document.get(key) for key in PREPROCESSING_KEYS},
        "transpose_forward": plans_document.get("transpose_forward"),
        "intensities": None if needless else _intensities(plans_document),
        "labels": dataset_document.get("labels"),
        "reader": plans_document.get("image_reader_writer"),
        "file_ending": dataset_document.get("file_ending"),
        "rule": rule,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stale_cases(
    folder: Path,
    cases: Iterable[str],
    config: ResolvedConfiguration,
    dataset_json: DatasetJson,
) -> list[str]:
    """The cases of a store that were made by another recipe than the current one.

    Cases without an entry in the manifest, such as nnU-Net's own, are not among them. Either rule
    of resampling labels will do.
    """
    recipes = {recipe_digest(config, dataset_json, rule) for rule in get_args(LabelRule)}
    entries = Manifest(folder).read()
    return [case for case in cases if case in entries and entries[case].recipe not in recipes]


def _intensities(plans_document: Mapping[str, Any]) -> list[Any]:
    return [
        plans_document.get(f"foreground_intensity_properties_{by}")
        for by in ("per_channel", "by_modality")
    ]


def _line(entry: ManifestEntry) -> bytes:
    return json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> ManifestEntry | None:
    try:
        document: Mapping[str, Any] = parse_json(line.decode(), MANIFEST)
        entry = ManifestEntry(
            case=document["case"],
            recipe=document["recipe"],
            inputs=tuple(FileRecord(**record) for record in document["inputs"]),
            outputs=tuple(FileRecord(**record) for record in document["outputs"]),
            shape=tuple(document["shape"]),
        )
        names = (entry.case, *(record.path for record in entry.outputs))
        return None if any(map(fault_of_part, names)) else entry
    except (FileError, ValueError, TypeError, KeyError):
        return None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
