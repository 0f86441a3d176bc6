"""Which patient each case is of."""

from pathlib import Path

import pytest

from resenc_plans.errors import FileError, UsageError
from resenc_plans.study.patients import patients_of

CASES = ["ann_1", "ann_2", "bob_1"]
EXPECTED = ["ann", "ann", "bob"]


def test_a_pattern_names_patients_by_its_first_group_or_its_match() -> None:
    assert patients_of(CASES, r"^(\w+)_\d$") == EXPECTED
    assert patients_of(CASES, r"^[a-z]+") == EXPECTED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("patients.csv", "patient,case,age\nann,ann_1,3\nann,ann_2,4\nbob,bob_1,5\n"),
        ("patients.json", '{"ann_1": "ann", "ann_2": "ann", "bob_1": "bob", "eve": "eve"}'),
    ],
)
def test_a_file_names_patients(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert patients_of(CASES, tmp_path / name) == EXPECTED


def test_a_case_without_a_patient_is_named() -> None:
    with pytest.raises(UsageError, match="no patient for 1 of 3 cases: bob_1"):
        patients_of(CASES, "ann")


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="columns case and patient"):
        patients_of(CASES, tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "case,patient\nann_1,ann\nann_2\nbob_1,bob\n"),
        ("x.csv", "case,patient\nann_1,ann\nann_2, \nbob_1,bob\n"),
        ("x.json", '{"ann_1": "ann", "ann_2": null, "bob_1": "bob"}'),
        ("x.json", '{"ann_1": "ann", "ann_2": ["bob"], "bob_1": "bob"}'),
    ],
)
def test_a_case_without_the_name_of_a_patient_is_of_no_patient(
    name: str, text: str, tmp_path: Path
) -> None:
    """Else all such cases would count as one."""
    (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=f"{name}: names no patient for ann_2"):
        patients_of(CASES, tmp_path / name)


def test_a_case_of_two_patients_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("case,patient\nann_1,ann\nann_2,ann\nbob_1,bob\nann_2,bob\n")
    with pytest.raises(FileError, match="names two patients for ann_2: ann and bob"):
        patients_of(CASES, tmp_path / "x.csv")


@pytest.mark.parametrize("pattern", ["x*", "(ann)|bob"])
def test_a_pattern_that_matches_nothing_of_a_case_names_no_patient(pattern: str) -> None:
    with pytest.raises(UsageError, match="as a pattern it names no patient for"):
        patients_of(CASES, pattern)


def test_a_pattern_may_be_longer_than_the_name_of_a_file() -> None:
    pattern = "|".join(f"(?:site{n}_)" for n in range(40)) + "|[a-z]+"
    assert len(pattern) > 255
    assert patients_of(CASES, pattern) == EXPECTED
