"""Jobs: pieces that fail, that are stale or broken, or that were begun."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import LockedError, StudyError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.execution.locks import lock
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.jobs import JobOptions, do_job, find_job
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.pieces import Doing
from resenc_plans.study.unattended.records import PieceRecord
from tests.study.unattended.made_study import NAME, SHORT

pytestmark = pytest.mark.slow

ON_CPU = JobOptions(device="cpu")
RUN = Run(NAME, "original", 0, 0)
NAME_OF_JOB = f"run/{NAME}/original/seed_0/fold_0"


def do(path: Path, job: str, options: JobOptions = ON_CPU) -> tuple[ExitCode, list[str]]:
    """Do a job of a study that is opened anew: the exit code, and what was said."""
    opened, said = OpenedStudy.open(path), list[str]()
    return do_job(opened, find_job(opened, job), options, said.append), said


def state(path: Path, kind: Any) -> str:
    return OpenedStudy.open(path).state(Piece(kind, RUN))


def edit(path: Path, **parts: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_what_is_done_is_not_done_again(finished: Path) -> None:
    assert do(finished, NAME_OF_JOB) == (ExitCode.DONE, [])


def test_a_piece_that_fails_stops_those_that_need_it_and_the_rerun_does_them(
    finished: Path,
) -> None:
    folder = finished.parent / "runs" / NAME / "original" / "seed_0" / "fold_0"
    shutil.rmtree(folder)
    shutil.rmtree(finished.parent / "state" / NAME / "original" / "seed_0")
    folder.write_text("a file where a folder is needed")
    code, said = do(finished, NAME_OF_JOB)
    assert code is ExitCode.FAILED
    assert "failed" in said[1]
    assert said[2] == f"prediction of {RUN}: waits for the training of {RUN}."
    assert state(finished, "training") == "failed"
    folder.unlink()
    assert do(finished, NAME_OF_JOB)[0] is ExitCode.DONE


def test_a_stale_training_is_done_again_only_if_that_is_allowed(finished: Path) -> None:
    edit(finished, training=SHORT | {"iterations": 2})
    code, said = do(finished, NAME_OF_JOB)
    assert code is ExitCode.FAILED
    assert "is stale" in said[0]
    assert do(finished, NAME_OF_JOB, JobOptions(device="cpu", redo=True))[0] is ExitCode.DONE
    replaced = finished.parent / "runs" / NAME / "original" / "replaced" / "seed_0"
    assert len(list(replaced.iterdir())) == 1
    record = json.loads((folder_of(finished) / "run.json").read_text())
    assert record["settings"]["iterations"] == 2


def test_a_training_that_is_done_again_never_goes_on_from_the_old_one(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(finished, training=SHORT | {"iterations": 2})

    def die(_: Doing) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Doing, "do", die)
        with pytest.raises(KeyboardInterrupt):
            do(finished, NAME_OF_JOB, JobOptions(device="cpu", redo=True))
    assert state(finished, "training") == "begun"
    assert do(finished, NAME_OF_JOB)[0] is ExitCode.DONE
    record = json.loads((folder_of(finished) / "run.json").read_text())
    assert (record["settings"]["iterations"], record["changes"]) == (2, [])


def folder_of(path: Path) -> Path:
    return path.parent / "runs" / NAME / "original" / "seed_0" / "fold_0"


def test_a_damaged_prediction_is_made_again_and_a_damaged_model_is_not(finished: Path) -> None:
    summary = folder_of(finished) / "validation" / "summary.json"
    whole = json.loads(summary.read_text())["foreground_mean"]
    summary.write_text("{")
    assert state(finished, "prediction") == "broken"
    assert do(finished, NAME_OF_JOB)[0] is ExitCode.DONE
    assert json.loads(summary.read_text())["foreground_mean"] == whole
    (folder_of(finished) / "checkpoint_final.pth").write_bytes(b"x")
    code, said = do(finished, NAME_OF_JOB)
    assert code is ExitCode.FAILED
    assert "is broken" in said[0]


def test_a_training_that_was_begun_goes_on_even_from_a_damaged_checkpoint(finished: Path) -> None:
    opened = OpenedStudy.open(finished)
    piece = Piece("training", RUN)
    PieceRecord(status="begun", key=opened.keys[piece]).save(opened.places.record(piece))
    (folder_of(finished) / "checkpoint_final.pth").write_bytes(b"x")
    (folder_of(finished) / "checkpoint_best.pth").unlink()
    assert state(finished, "training") == "begun"
    assert do(finished, NAME_OF_JOB)[0] is ExitCode.DONE
    assert state(finished, "evaluation") == "done"


def test_one_process_at_a_time_does_a_job(finished: Path) -> None:
    opened = OpenedStudy.open(finished)
    job = find_job(opened, NAME_OF_JOB)
    with (
        lock(opened.places.job_lock(job), finished.parent),
        pytest.raises(LockedError, match="has been writing"),
    ):
        do(finished, NAME_OF_JOB)
    with pytest.raises(StudyError, match="has no job 'run/x'"):
        find_job(opened, "run/x")
