"""What run.json says about a training, and when two differ."""

import importlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.runs.run_record import OwnCode, RunRecord, differences, equal_values

RECORD = RunRecord(
    name="nnUNetTrainer",
    configuration={"patch_size": [8, 16, 16], "data_identifier": "a"},
    settings={"epochs": 1000, "seed": 0},
    precision="float16",
    code={},
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "method_of_mine.py"
    path.write_text("class Net:\n    def __init__(self, channels, heads): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    import sys

    sys.modules.pop(path.stem, None)


def test_code_is_named_by_its_import_path_and_the_digest_of_its_file(module: Path) -> None:
    mine = importlib.import_module(module.stem)
    code = OwnCode.of(mine.Net(1, 2))
    assert (code.import_path, code.module, code.importable) == (
        *("method_of_mine.Net", "method_of_mine"),
        True,
    )
    assert code == OwnCode.of(mine.Net)
    module.write_text(module.read_text() + "# another\n")
    assert OwnCode.of(mine.Net).sha256 != code.sha256


def test_arguments_of_a_partial_are_part_of_the_code() -> None:
    code = OwnCode.of(partial(partial(Path, "a"), "b", key=3))
    assert code.arguments == "'a', 'b', key=3"
    assert not OwnCode.of(lambda *_: None).importable


def test_folds_may_differ_in_seed_and_workers_but_not_in_what_decides_the_result() -> None:
    other = RECORD.model_copy(
        update={
            "settings": {"epochs": 1000, "seed": 7, "workers": 3},
            "configuration": {"patch_size": (8, 16, 16), "data_identifier": "b"},
        }
    )
    assert differences(RECORD, other) == ()
    code = {"loss": OwnCode(import_path="m.Loss", sha256="1")}
    other = RECORD.model_copy(
        update={
            "settings": {"epochs": 5, "momentum": 0.9},
            "configuration": {"patch_size": [8, 16, 32]},
            "precision": "float32",
            "code": code,
        }
    )
    assert differences(RECORD, other) == (
        *(
            "epochs 1000, now 5",
            "optimizer.momentum 0.99, now 0.9",
            "precision float16, now float32",
        ),
        *("patch_size 8x16x16, now 8x16x32", "loss None, now m.Loss"),
    )
    changed = other.model_copy(update={"code": {"loss": OwnCode(import_path="m.Loss", sha256="2")}})
    assert differences(other, changed) == ("loss: the code of m.Loss has changed",)


def test_a_record_is_read_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert RunRecord.load(tmp_path) is None
    RECORD.save(tmp_path)
    assert RunRecord.load(tmp_path) == RECORD
    (tmp_path / "run.json").write_text('{"name": 3}')
    with pytest.raises(FileError, match=r"run\.json: not the record of a training \(name"):
        RunRecord.load(tmp_path)


def test_a_record_of_settings_that_no_training_has_is_named(tmp_path: Path) -> None:
    RECORD.model_copy(update={"settings": {"epochs": [[1]]}}).save(tmp_path)
    with pytest.raises(FileError, match=r"run\.json: not the record of a training \(epochs"):
        RunRecord.load(tmp_path)


def test_a_number_beyond_all_fractions_equals_none_of_them() -> None:
    assert not equal_values(0.5, 10**400)
    assert equal_values(10**400, 10**400)
