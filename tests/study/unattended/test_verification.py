"""`study verify`: a report that still is what its inputs give, and what differs if not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.verification import verify_study
from tests.study.unattended.made_study import NAME

pytestmark = pytest.mark.slow


def found(path: Path) -> list[str]:
    return list(map(str, verify_study(OpenedStudy.open(path)).discrepancies))


def append(path: Path, data: bytes = b" ") -> None:
    path.write_bytes(path.read_bytes() + data)


def image(study: Path) -> Path:
    return sorted((study.parent.parent / NAME / "imagesTr").iterdir())[0]


def report(study: Path, name: str) -> Path:
    return study.parent / "report" / name


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an input": (lambda study: append(image(study)), "phantom_000_0000.nii.gz has changed"),
    "a report": (
        lambda study: swap(report(study, "report.md"), "0.", "1."),
        "report.md is another than the one made again, from line ",
    ),
    "a missing page": (lambda study: report(study, "table.tex").unlink(), "table.tex is missing"),
    "a strange file": (
        lambda study: report(study, "more.txt").touch(),
        "more.txt is not part of the report",
    ),
    "a version": (
        lambda study: swap(report(study, "provenance.json"), '"numpy": "', '"numpy": "0.'),
        "version: numpy was 0.",
    ),
    "the study": (lambda study: swap(study, ": 200", ": 300"), "bootstrap has changed"),
    "the study's blanks": (lambda study: append(study), "has changed, but says the same"),
    "a segmentation": (
        lambda study: append(next(study.parent.glob("runs/*/original/*/*/validation/*.nii.gz"))),
        "run: Dataset900_Phantom/original/seed_0/fold_0: runs/",
    ),
    "a file elsewhere": (
        lambda study: swap(report(study, "provenance.json"), '"runs/', '"/runs/'),
        "leads out of the study's folder, so it is not read",
    ),
    "an input elsewhere": (
        lambda study: swap(report(study, "provenance.json"), '"imagesTr/', '"/imagesTr/'),
        "is no file of it any more",
    ),
    "splits": (
        lambda study: append(study.parent / "preprocessed" / NAME / "splits_final.json"),
        "splits_final.json has changed",
    ),
}  # fmt: skip


def test_an_untouched_study_is_confirmed(finished: Path) -> None:
    verification = verify_study(OpenedStudy.open(finished))
    assert verification.discrepancies == ()
    assert verification.files > 20


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_named(change: str, finished: Path) -> None:
    do, message = CHANGES[change]
    do(finished)
    assert any(message in text for text in found(finished)), found(finished)


def test_without_a_report_there_is_nothing_to_verify(finished: Path) -> None:
    report(finished, "provenance.json").unlink()
    with pytest.raises(FileError, match=r"has no provenance\.json, so there is no report"):
        found(finished)
