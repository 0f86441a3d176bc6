"""Words of messages: one thing has the singular, and a wrong name its nearest."""

import re

import pytest

from resenc_plans.words import counted, meant
from tests.test_layers import SOURCE


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (1000, "1,000 cases")]
)
def test_one_thing_has_the_singular(number: int, text: str) -> None:
    assert counted(number, "case", form=",") == text


def test_no_length_stands_before_a_plural() -> None:
    length = re.compile(
        r"\{len\([^{}]*\)\} (?:[a-z-]+ )?(?:cases|channels|epochs|files|folds|jobs|runs)"
    )
    for path in SOURCE.rglob("*.py"):
        assert not length.search(path.read_text(encoding="utf-8")), path


def test_a_noun_of_its_own_plural_has_it() -> None:
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(3, "entry", "entries") == "3 entries"


def test_a_name_that_resembles_none_has_no_nearest() -> None:
    assert meant("colour", ("Dice", "IoU")) == ""
