from pathlib import Path

import pytest

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.reader_choice import reader_writer_name
from resenc_plans.datasets.images.readers import READERS, READERS_BY_ENDING
from resenc_plans.errors import DatasetError
from tests.datasets.made import document


def _name(example: Path | None = None, **changes: object) -> str:
    return reader_writer_name(DatasetJson.from_dict(document(**changes)), example)


@pytest.mark.parametrize("ending", READERS_BY_ENDING)
def test_without_an_example_the_file_ending_decides(ending: str) -> None:
    assert _name(file_ending=ending) == READERS_BY_ENDING[ending][0]
    assert _name(file_ending=ending.upper()) == READERS_BY_ENDING[ending][0]


@pytest.mark.parametrize("reader", sorted(READERS))
def test_dataset_json_may_name_the_reader(reader: str) -> None:
    assert _name(overwrite_image_reader_writer=reader) == reader


@pytest.mark.parametrize("reader", ["None", "MyOwnReader"])
def test_a_reader_that_nnunet_does_not_have_is_ignored(reader: str) -> None:
    assert _name(overwrite_image_reader_writer=reader) == "SimpleITKIO"


def test_an_unknown_ending_is_named_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"'.jpg'.*\.png"):
        _name(file_ending=".jpg")


def test_an_unreadable_example_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a_0000.nii.gz"
    path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a_0000.nii.gz: none of"):
        _name(path)
