"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.files import replace_file


@pytest.mark.parametrize("name", ["a" * 251 + ".npz", "患" * 80 + ".nii.gz"])
def test_a_name_may_be_as_long_as_the_system_lets_it(tmp_path: Path, name: str) -> None:
    with replace_file(tmp_path / name) as stream:
        stream.write(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_too_long_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not written"), replace_file(tmp_path / ("a" * 256)):
        pass
    assert not list(tmp_path.iterdir())
