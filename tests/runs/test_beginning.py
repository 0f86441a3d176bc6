"""What a training may replace, and where what it replaces goes."""

from pathlib import Path

import pytest

from resenc_plans.errors import FileError, TrainingError
from resenc_plans.runs.beginning import (
    changes_on_the_way,
    refuse_other_settings,
    refuse_to_replace,
)
from resenc_plans.runs.find_model import find_dataset_results, find_models
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.run_record import RunChange
from tests.runs.test_run_record import RECORD

MODEL = "nnUNetTrainer__nnUNetPlans__2d"
FILES = {
    "checkpoint_final.pth": b"old final",
    "checkpoint_best.pth": b"old best",
    "training_log.txt": b"old log",
    "validation/summary.json": b"{}",
}


@pytest.fixture
def trained(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "Dataset900_Phantom" / MODEL, 0)
    for name, content in FILES.items():
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_bytes(content)
    (folder.model / "plans.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_replaced_moves_whole_and_out_of_the_model(trained: RunFolder) -> None:
    target = trained.move_aside()
    assert target is not None
    assert target.parent == trained.model.parent / "replaced" / MODEL
    assert target.name.startswith("fold_0-")
    assert contents(target) == FILES
    assert not trained.path.exists()
    assert ModelFolder(trained.model).folds() == ()
    results = find_dataset_results(str(trained.model.parent))
    assert [model.identifier for model in find_models(results)] == [MODEL]
    assert trained.move_aside() is None


def test_runs_that_are_replaced_within_a_second_are_both_kept(trained: RunFolder) -> None:
    first = trained.move_aside()
    trained.path.mkdir()
    trained.checkpoint("checkpoint_latest.pth").write_bytes(b"second")
    second = trained.move_aside()
    assert first is not None
    assert second is not None
    assert contents(first) == FILES
    assert contents(second) == {"checkpoint_latest.pth": b"second"}


def test_a_run_that_cannot_be_moved_stays(
    trained: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(FileError, match=r"fold_0: cannot be moved to .*Permission denied"):
        trained.move_aside()
    assert contents(trained.path) == FILES


def test_a_finished_fold_that_is_prolonged_keeps_no_old_end(trained: RunFolder) -> None:
    trained.checkpoint("checkpoint_final.pth").touch()
    trained.reopen()
    left = contents(trained.path)
    assert left["checkpoint_latest.pth"] == b"old final"
    assert left.keys() == {"checkpoint_latest.pth", "checkpoint_best.pth", "training_log.txt"}
    [aside] = trained.replaced.iterdir()
    assert contents(aside) == {"validation/summary.json": b"{}"}


@pytest.mark.parametrize(
    ("name", "what"),
    [("checkpoint_final.pth", "is trained"), ("checkpoint_latest.pth", "an unfinished training")],
)
def test_a_fold_with_a_checkpoint_is_not_begun_anew(tmp_path: Path, name: str, what: str) -> None:
    folder = RunFolder(tmp_path / "Dataset900_Phantom" / MODEL, 0)
    refuse_to_replace(folder)
    folder.path.mkdir(parents=True)
    folder.log("begun")
    refuse_to_replace(folder)
    folder.checkpoint(name).write_bytes(b"")
    with pytest.raises(TrainingError, match=rf"{what}\. .*`resume=`.*`overwrite=`.*replaced"):
        refuse_to_replace(folder)


def test_a_fold_with_other_settings_than_its_neighbours_is_refused(trained: RunFolder) -> None:
    new = RunFolder(trained.model, 1)
    other = RECORD.model_copy(update={"settings": {"epochs": 5}})
    refuse_other_settings(new, other)  # fold 0 has no record
    RECORD.save(trained.path)
    refuse_other_settings(trained, other)  # it is the fold itself
    with pytest.raises(
        TrainingError, match=r"fold_0: .*epochs 1000, now 5\. .*`allow_differences=`"
    ):
        refuse_other_settings(new, other)


def test_a_fold_that_goes_on_may_be_prolonged_but_not_changed_unasked(trained: RunFolder) -> None:
    def changes(**settings: object) -> tuple[str, ...]:
        now = RECORD.model_copy(update={"settings": {"seed": 0, **settings}})
        return changes_on_the_way(trained, now, None, allow_differences=True)

    assert changes(learning_rate=0.1) == ()  # nnU-Net leaves no record
    RECORD.save(trained.path)
    assert changes(epochs=5, workers=3) == ()
    assert changes(epochs=5, learning_rate=0.1) == ("learning_rate 0.01, now 0.1",)
    other = RECORD.model_copy(update={"settings": {"learning_rate": 0.1}})
    with pytest.raises(TrainingError, match=r"so far: learning_rate .*`allow_differences=`"):
        changes_on_the_way(trained, other, None, allow_differences=False)


def test_a_fold_that_was_changed_on_the_way_differs_from_one_that_was_not(
    trained: RunFolder,
) -> None:
    change = RunChange(epoch=3, differences=("learning_rate 0.1, now 0.01",))
    RECORD.model_copy(update={"changes": (change,)}).save(trained.path)
    assert changes_on_the_way(trained, RECORD, None, allow_differences=False) == ()
    with pytest.raises(
        TrainingError, match=r"changed on the way from epoch 3 \(learning_rate 0\.1"
    ):
        refuse_other_settings(RunFolder(trained.model, 1), RECORD)
