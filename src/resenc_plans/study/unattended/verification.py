"""`study verify`: whether a report still is what its inputs give, and what differs if not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Literal

from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.files import inside, read_bytes
from resenc_plans.reprs import card
from resenc_plans.study.unattended.digests import sha256_of
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.provenance import PROVENANCE_JSON, Provenance, versions
from resenc_plans.study.unattended.study_report import write_study_report
from resenc_plans.words import counted

What = Literal["input", "version", "study", "run", "report"]

MAX_REPORT_BYTES = 1 << 30


@dataclass(frozen=True)
class Discrepancy:
    """One thing that is not as the report says, or as it was."""

    what: What
    message: str

    def __str__(self) -> str:
        return f"{self.what}: {self.message}"


@dataclass(frozen=True)
class Verification:
    """What `study verify` has found."""

    discrepancies: tuple[Discrepancy, ...]
    files: int
    """That were read: inputs, files of runs, and those of the report."""

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing differs, and the report made again is the same byte for byte."""
        return not self.discrepancies

    def __repr__(self) -> str:
        title = "confirmed" if self.is_confirmed else f"{len(self.discrepancies)} differ"
        rows = {str(n): str(one) for n, one in enumerate(self.discrepancies, 1)}
        return card(f"Verification of {counted(self.files, 'file')}: {title}", rows)


def verify_study(study: OpenedStudy, report: Path | None = None) -> Verification:
    """Read every file that a report was made from, and make the report again.

    Parameters
    ----------
    study
        The study.
    report
        The folder of its report; by default `report` beside the study's file.

    Raises
    ------
    FileError
        There is no report.
    """
    folder = study.places.report if report is None else report
    if not (folder / PROVENANCE_JSON).is_file():
        raise FileError(
            f"{folder}: has no {PROVENANCE_JSON}, so there is no report of a study to verify. "
            "`study report` makes it."
        )
    recorded = Provenance.load(folder)
    found = [
        *_inputs(study, recorded),
        *_versions(recorded),
        *_study(study, recorded),
        *_runs(study, recorded),
    ]
    files = sum(map(len, recorded.datasets.values())) + len(recorded.splits) + 1
    files += sum(len(run.files) for run in recorded.runs.values())
    again, count = _made_again(study, folder)
    return Verification((*found, *again), files + count)


def _inputs(study: OpenedStudy, recorded: Provenance) -> Iterator[Discrepancy]:
    for name, files in recorded.datasets.items():
        if name not in study.data:
            yield Discrepancy("study", f"{name} is no dataset of the study any more")
            continue
        data = study.data[name]
        root = data.dataset.folder
        present = set(data.files)
        for path, digest in files.items():
            is_present = root / path in present
            fault = _fault(root / path, digest) if is_present else "is no file of it any more"
            if fault is not None:
                yield Discrepancy("input", f"{root / path} {fault}")
        known = {root / path for path in files}
        for file in data.files:
            if file not in known:
                yield Discrepancy("input", f"{file} has been added")
        if name in recorded.splits:
            fault = _fault(data.splits_file, recorded.splits[name])
            if fault is not None:
                yield Discrepancy("input", f"{data.splits_file} {fault}")


def _versions(recorded: Provenance) -> Iterator[Discrepancy]:
    for name, before, now in _changes(recorded.versions, versions()):
        yield Discrepancy("version", f"{name} was {before or 'absent'} and is {now or 'absent'}")


def _study(study: OpenedStudy, recorded: Provenance) -> Iterator[Discrepancy]:
    now = study.file.model_dump(mode="json")
    differing = [key for key, _, _ in _changes(recorded.study, now)]
    for key in differing:
        yield Discrepancy("study", f"{study.path}: {key} has changed")
    if not differing and _fault(study.path, recorded.study_sha256) is not None:
        yield Discrepancy("study", f"{study.path} has changed, but says the same")


def _runs(study: OpenedStudy, recorded: Provenance) -> Iterator[Discrepancy]:
    for run, facts in recorded.runs.items():
        for path, digest in facts.files.items():
            fault = _fault_inside(study.places.root, path, digest)
            if fault is not None:
                yield Discrepancy("run", f"{run}: {path} {fault}")


def _made_again(study: OpenedStudy, folder: Path) -> tuple[list[Discrepancy], int]:
    """What differs from a report that is made now, and the number of files."""
    found: list[Discrepancy] = []
    with TemporaryDirectory() as temporary:
        new = Path(temporary) / "report"
        try:
            write_study_report(study, new)
        except ResencPlansError as error:
            return [
                Discrepancy("report", f"cannot be made again. {str(error).removesuffix('.')}")
            ], 0
        made = _files_below(new)
        for path in made.values():
            old = folder / path.relative_to(new)
            if not old.is_file():
                found.append(Discrepancy("report", f"{old} is missing"))
            elif path.name != PROVENANCE_JSON and _bytes(old) != _bytes(path):
                found.append(
                    Discrepancy("report", f"{old} {_difference(_bytes(old), _bytes(path))}")
                )
        found += [
            Discrepancy("report", f"{path} is not part of the report")
            for name, path in _files_below(folder).items()
            if name not in made
        ]
    return found, len(made)


def _files_below(folder: Path) -> dict[PurePath, Path]:
    """All files of a report, by their paths in it."""
    return {
        path.relative_to(folder): path for path in sorted(folder.rglob("*")) if not path.is_dir()
    }


def _difference(old: bytes, new: bytes) -> str:
    """Where two files differ first, in words."""
    if b"\0" in old + new:
        return "is another than the one made again"
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    line = next((n for n, (one, other) in enumerate(pairs, 1) if one != other), None)
    if line is None:
        line = min(old.count(b"\n"), new.count(b"\n")) + 1
    return f"is another than the one made again, from line {line} on"


def _bytes(path: Path) -> bytes:
    return read_bytes(path, MAX_REPORT_BYTES)


def _fault_inside(root: Path, path: str, digest: str) -> str | None:
    """As `_fault`; what lies elsewhere is not read, whatever the report names."""
    try:
        return _fault(inside(root, root / path), digest)
    except FileError:
        return "leads out of the study's folder, so it is not read"


def _fault(path: Path, digest: str) -> str | None:
    try:
        if not path.is_file():
            return "is missing"
        return None if sha256_of(path) == digest else "has changed"
    except (FileError, OSError) as error:
        return f"cannot be read: {error}"


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys((*before, *now)):
        if before.get(key) != now.get(key):
            yield key, before.get(key), now.get(key)
