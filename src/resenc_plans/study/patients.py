"""Which patient each case is of."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resenc_plans.errors import FileError, UsageError
from resenc_plans.files import open_regular, read_json, user_path
from resenc_plans.reprs import listed
from resenc_plans.words import counted


def patients_of(
    cases: Sequence[str], patients: Mapping[str, str] | str | os.PathLike[str]
) -> list[str]:
    """The patient of each case.

    Parameters
    ----------
    cases
        Names of cases.
    patients
        The patient by case; a file with it, JSON or CSV with the columns case and patient; or a
        regular expression, whose first group, or whole match, is the patient.

    Raises
    ------
    UsageError
        A case has no patient, or the pattern is none.
    FileError
        The file cannot be read.
    """
    if isinstance(patients, Mapping):
        by_case, what, kind = dict(patients), "given", "names"
    elif (file := patients_file(patients)) is not None:
        by_case, what, kind = _read(file), str(file), "names"
    else:
        what, kind = os.fspath(patients), "is no file, and as a pattern it names"
        by_case = _matched(cases, what)
    lacking = [case for case in cases if case not in by_case]
    if lacking:
        raise UsageError(
            f"`patients=` {what}: {kind} no patient for {len(lacking)} of "
            f"{counted(len(cases), 'case')}: {listed(lacking)}."
        )
    return [by_case[case] for case in cases]


def patients_file(patients: str | os.PathLike[str], root: Path = Path()) -> Path | None:
    """The file that names patients; None where there is none, so that it is a pattern.

    A relative path counts from `root`.

    Raises
    ------
    FileError
        No file can have that path.
    """
    path = root / user_path(patients)
    # Path.is_file raises an error for patterns that are longer than the name of a file may be.
    return path if os.path.isfile(path) else None  # noqa: PTH113


def _matched(cases: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"`patients=` {pattern}: neither a file nor a regular expression ({error})."
        ) from None
    matches = {case: expression.search(case) for case in cases}
    names = {
        case: match[1] if expression.groups else match[0]
        for case, match in matches.items()
        if match is not None
    }
    return {case: name for case, name in names.items() if name}


def _read(path: Path) -> dict[str, str]:
    if path.suffix == ".json":
        document = read_json(path)
        if not isinstance(document, dict):
            raise FileError(f"{path}: is not a JSON object of patients by case.")
        return _distinct(path, list(document.items()))
    with open_regular(path) as stream:
        try:
            lines = stream.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise FileError(f"{path}: not text in UTF-8.") from None
    rows = list(csv.DictReader(lines))
    if not rows or not {"case", "patient"} <= rows[0].keys():
        raise FileError(f"{path}: a CSV file with the columns case and patient is needed.")
    return _distinct(path, [(row["case"], row["patient"]) for row in rows])


def _distinct(path: Path, rows: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The patient by case, where each row names one, and no case has two."""
    by_case: dict[str, str] = {}
    for case, patient in rows:
        name = str(patient).strip() if isinstance(patient, str | int) else ""
        if not name:
            raise FileError(f"{path}: names no patient for {case}.")
        if by_case.setdefault(case, name) != name:
            raise FileError(f"{path}: names two patients for {case}: {by_case[case]} and {name}.")
    return by_case
