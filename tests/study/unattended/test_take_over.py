"""Runs that exist, ours or nnU-Net's: taken over if they are those of the study."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import LockedError
from resenc_plans.execution.locks import lock
from resenc_plans.study.unattended import take_over as module
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.records import PieceRecord
from resenc_plans.study.unattended.study import Study
from resenc_plans.study.unattended.take_over import take_over
from tests.study.unattended.made_study import NAME

pytestmark = pytest.mark.slow

RUN = Run(NAME, "original", 0, 0)


@pytest.fixture
def elsewhere(finished: Path) -> Path:
    """The fold of a study in which `original` has not begun, moved to a folder of results."""
    seed = finished.parent / "runs" / NAME / "original" / "seed_0"
    name = json.loads((seed / "model.json").read_text())["identifier"]
    model = finished.parent.parent / "results" / NAME / name
    model.parent.mkdir(parents=True)
    seed.rename(model)
    (model / "model.json").unlink()
    shutil.rmtree(finished.parent / "state" / NAME / "original" / "seed_0")
    document = json.loads(finished.read_text()) | {"existing": ["../results"]}
    finished.write_text(json.dumps(document))
    return model


def study_of(model: Path) -> Path:
    return model.parent.parent.parent / "study" / "study.json"


def edit(path: Path, **parts: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def as_nnunet(model: Path) -> None:
    """Leave of a fold what nnU-Net would: no records but debug.json."""
    fold = model / "fold_0"
    for name in ("run.json", "cases.json", "cost.json", "validation/validation.json"):
        (fold / name).unlink()
    debug = {
        "num_epochs": "1", "num_iterations_per_epoch": "1", "initial_lr": "0.01",
        "weight_decay": "3e-05", "enable_deep_supervision": "True",
        "inference_allowed_mirroring_axes": "(0, 1, 2)",
    }  # fmt: skip
    (fold / "debug.json").write_text(json.dumps(debug))


@pytest.mark.parametrize("writer", ["ours", "nnU-Net's"])
def test_a_finished_run_that_agrees_is_taken_over(writer: str, elsewhere: Path) -> None:
    if writer != "ours":
        as_nnunet(elsewhere)
    path = study_of(elsewhere)
    checked = Study.load(path).check()
    [existing] = checked.existing
    assert existing.differences == ()
    assert [one.rule for one in checked.findings] == ["S101"]
    assert {one.method: one.missing for one in checked.methods} == {"resenc-m": 0, "original": 0}
    take_over(OpenedStudy.open(path), checked.existing, lambda _: None)
    opened = OpenedStudy.open(path)
    assert opened.state(Piece("training", RUN)) == "done"
    assert opened.state(Piece("prediction", RUN)) == "done"
    record = PieceRecord.load(opened.places.record(Piece("training", RUN)))
    assert record is not None
    assert record.taken_from == str(elsewhere / "fold_0")
    assert (elsewhere / "fold_0" / "checkpoint_final.pth").is_file(), "it stays where it was"
    assert opened.places.model(RUN).identifier == elsewhere.name


def test_a_run_that_differs_is_not_taken_over_and_the_check_says_why(elsewhere: Path) -> None:
    path = study_of(elsewhere)
    edit(path, seeds=[3], training=json.loads(path.read_text())["training"] | {"epochs": 4})
    [existing] = Study.load(path).check().existing
    assert "epochs 1, now 4" in existing.differences
    assert "seed 0, now 3" in existing.differences


def test_a_run_on_other_cases_is_not_taken_over(elsewhere: Path) -> None:
    cases = elsewhere / "fold_0" / "cases.json"
    document = json.loads(cases.read_text())
    cases.write_text(json.dumps(document | {"train": document["train"][1:]}))
    [existing] = Study.load(study_of(elsewhere)).check().existing
    [difference] = existing.differences
    assert difference.startswith("cases to train on: phantom_")


def test_a_finished_run_whose_record_is_lost_is_recognised(finished: Path) -> None:
    opened = OpenedStudy.open(finished)
    for kind in ("training", "prediction"):
        opened.places.record(Piece(kind, RUN)).write_text("{")
    checked = Study.load(finished).check()
    [existing] = checked.existing
    assert existing.differences == ()
    take_over(opened, checked.existing, lambda _: None)
    assert OpenedStudy.open(finished).state(Piece("evaluation", RUN)) == "done"


def test_a_run_of_another_trainer_of_nnunet_is_not_taken_over(elsewhere: Path) -> None:
    as_nnunet(elsewhere)
    path = study_of(elsewhere)
    name = elsewhere.name.replace("nnUNetTrainer__", "nnUNetTrainerDA5__")
    elsewhere.rename(elsewhere.with_name(name))
    [existing] = Study.load(path).check().existing
    assert existing.differences == ("trainer nnUNetTrainerDA5, now nnUNetTrainer",)


def test_a_run_of_nnunet_does_not_stand_for_settings_that_it_does_not_tell(
    elsewhere: Path,
) -> None:
    as_nnunet(elsewhere)
    path = study_of(elsewhere)
    methods = json.loads(path.read_text())["methods"]
    methods["original"]["settings"] = {"loss": {"name": "dice"}}
    edit(path, methods=methods)
    [existing] = Study.load(path).check().existing
    assert existing.differences == ("loss.name is not known, now dice",)


def test_a_run_of_nnunet_stands_for_one_seed_only(elsewhere: Path) -> None:
    as_nnunet(elsewhere)
    path = study_of(elsewhere)
    edit(path, seeds=[0, 1])
    checked = Study.load(path).check()
    assert [one.run for one in checked.existing] == [RUN]
    take_over(OpenedStudy.open(path), checked.existing, lambda _: None)
    assert Study.load(path).check().existing == ()


def test_what_a_failed_training_has_left_is_moved_not_deleted(elsewhere: Path) -> None:
    path = study_of(elsewhere)
    opened = OpenedStudy.open(path)
    fold = opened.places.run(RUN)
    fold.path.mkdir(parents=True)
    fold.checkpoint("checkpoint_latest.pth").write_text("of many hours")
    lines: list[str] = []
    take_over(opened, Study.load(path).check().existing, lines.append)
    [aside] = fold.replaced.iterdir()
    assert (aside / "checkpoint_latest.pth").read_text() == "of many hours"
    assert lines == [
        f"{RUN}: taken over from {elsewhere / 'fold_0'}. What was there moved to {aside}."
    ]


@pytest.mark.parametrize("of", ["job", "fold"])
def test_a_run_that_another_process_does_is_left_to_it(of: str, elsewhere: Path) -> None:
    path = study_of(elsewhere)
    existing = Study.load(path).check().existing
    opened = OpenedStudy.open(path)
    opened.places.model(RUN).folder.mkdir(parents=True)
    job = next(job for job in opened.graph.jobs if job.pieces[-1].run == RUN)
    held = opened.places.job_lock(job) if of == "job" else opened.places.run(RUN).lock_file
    lines: list[str] = []
    with lock(held, opened.places.root):
        take_over(opened, existing, lines.append)
    assert opened.state(Piece("training", RUN)) == "missing"
    [line] = lines
    assert line.startswith(f"{RUN}: not taken over. ")


def test_a_run_that_was_begun_meanwhile_is_not_taken_over(elsewhere: Path) -> None:
    path = study_of(elsewhere)
    existing = Study.load(path).check().existing
    opened = OpenedStudy.open(path)
    piece = Piece("training", RUN)
    PieceRecord(status="begun", key=opened.keys[piece]).save(opened.places.record(piece))
    take_over(opened, existing, lambda _: None)
    assert opened.state(piece) == "begun"


def test_scripts_for_slurm_say_what_they_take_over_under_the_lock_of_the_study(
    elsewhere: Path,
) -> None:
    study = Study.load(study_of(elsewhere))
    lines: list[str] = []
    with lock(study.opened.places.lock_file, study.folder), pytest.raises(LockedError):
        study.write_slurm(on_progress=lines.append)
    assert lines == []
    study.write_slurm(on_progress=lines.append)
    assert lines == [f"{RUN}: taken over from {elsewhere / 'fold_0'}."]


def test_an_interrupted_copy_still_is_known_to_be_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    path = study_of(elsewhere)
    opened, existing = OpenedStudy.open(path), Study.load(path).check().existing
    with monkeypatch.context() as patch:
        patch.setattr(module, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            take_over(opened, existing, lambda _: None)
    take_over(opened, Study.load(path).check().existing, lambda _: None)
    record = opened.record(Piece("training", RUN))
    assert record is not None
    assert (record.status, record.taken_from) == ("done", str(elsewhere / "fold_0"))


def test_a_run_of_a_trainer_that_all_methods_share_bears_its_name(elsewhere: Path) -> None:
    path = study_of(elsewhere)
    trainer = "nnUNetTrainer_5epochs"
    edit(path, training={"trainer": trainer, **json.loads(path.read_text())["training"]})
    model = elsewhere.with_name(elsewhere.name.replace("nnUNetTrainer__", f"{trainer}__"))
    elsewhere.rename(model)
    record = json.loads((model / "fold_0" / "run.json").read_text())
    record["settings"]["trainer"] = trainer
    (model / "fold_0" / "run.json").write_text(json.dumps(record))
    opened, existing = OpenedStudy.open(path), Study.load(path).check().existing
    [one] = [one for one in existing if one.run == RUN]
    assert one.differences == ()
    take_over(opened, existing, lambda _: None)
    assert opened.places.model(RUN).identifier == model.name
