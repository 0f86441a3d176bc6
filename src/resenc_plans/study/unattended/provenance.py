"""provenance.json: the inputs, versions, seeds and settings behind a study's report."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from resenc_plans import __version__
from resenc_plans.errors import FileError
from resenc_plans.files import read_json
from resenc_plans.study.unattended.digests import sha256_of
from resenc_plans.study.unattended.graph import Piece
from resenc_plans.study.unattended.opened import OpenedStudy

PROVENANCE_JSON = "provenance.json"

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "SimpleITK",
    "blosc2",
    "batchgeneratorsv2",
    "pydantic",
    "matplotlib",
)
"""Beside this one, those whose versions may change results."""


class RunProvenance(BaseModel):
    """What a run was made from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    settings: dict[str, Any] | None
    """Of its training; None where it was not trained."""
    taken_from: str | None
    """The folder that it was taken over from, if any."""
    files: dict[str, str]
    """The SHA-256 of its files, by their paths below the study's folder."""


class Provenance(BaseModel):
    """What a report was made from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    versions: dict[str, str]
    """Of this package, Python and the packages that compute."""
    study: dict[str, Any]
    """The study's file, with all defaults."""
    study_sha256: str
    """Of the study's file."""
    datasets: dict[str, dict[str, str]]
    """By dataset, the SHA-256 of each file of the raw data."""
    splits: dict[str, str]
    """By dataset, the SHA-256 of the splits."""
    runs: dict[str, RunProvenance]
    """By run."""

    @classmethod
    def of(cls, study: OpenedStudy) -> Self:
        """What the study consists of now.

        Raises
        ------
        FileError
            A file cannot be read.
        """
        return cls(
            versions=versions(),
            study=study.file.model_dump(mode="json"),
            study_sha256=sha256_of(study.path),
            datasets={name: data.digests() for name, data in study.data.items()},
            splits={
                name: sha256_of(data.splits_file)
                for name, data in study.data.items()
                if data.splits_file.is_file()
            },
            runs=dict(_runs(study)),
        )

    @classmethod
    def load(cls, report: Path) -> Self:
        """That of a report's folder.

        Raises
        ------
        FileError
            There is none, or it is damaged.
        """
        path = report / PROVENANCE_JSON
        try:
            return cls.model_validate(read_json(path))
        except ValidationError:
            raise FileError(f"{path}: does not say what a study was made from.") from None


def versions() -> dict[str, str]:
    """The versions that are installed."""
    found = {"resenc-plans": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _runs(study: OpenedStudy) -> Iterator[tuple[str, RunProvenance]]:
    for run in study.graph.runs:
        kinds = ("evaluation",) if run.seed is None else ("training", "prediction", "evaluation")
        records = [study.record(Piece(kind, run)) for kind in kinds]  # type: ignore[arg-type]
        if any(record is None or record.status != "done" for record in records):
            continue
        files = {
            path: digest.sha256
            for record in records
            if record is not None
            for path, digest in record.outputs.items()
        }
        taken = next((one.taken_from for one in records if one and one.taken_from), None)
        settings = (
            None
            if run.seed is None
            else study.file.settings_of(run.method, run.seed).model_dump(mode="json")
        )
        yield str(run), RunProvenance(settings=settings, taken_from=taken, files=files)
