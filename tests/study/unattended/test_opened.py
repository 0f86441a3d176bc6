"""Studies are opened by paths that people wrote."""

from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.study.unattended.methods import folder_of
from resenc_plans.study.unattended.opened import OpenedStudy
from tests.study.unattended.made_study import write_study

STRANGER = "~nobody-of-that-name/x"


def test_the_home_of_a_stranger_is_an_error_in_words(tmp_path: Path) -> None:
    described = {"dataset": "../Dataset900_Phantom", "splits": STRANGER, "patients": STRANGER}
    opened = OpenedStudy.open(write_study(tmp_path, datasets=[described]))
    (data,) = opened.data.values()
    for read in (
        data.splits,
        lambda: data.patients,
        lambda: folder_of(STRANGER, data.name, tmp_path),
        lambda: OpenedStudy.open(STRANGER),
    ):
        with pytest.raises(FileError, match="the home folder of that user is not known"):
            read()
