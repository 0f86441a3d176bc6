"""The commands of `study`."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.execution.exit_codes import ExitCode
from tests.cli.conftest import Done
from tests.study.unattended.made_study import NAME, write_study

Run = Callable[..., Done]
JOB = f"run/{NAME}/original/seed_0/fold_0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--slurm", "--dask", "tcp://x:1"), "--slurm and --dask contradict each other"),
        (("--sbatch=--time=1",), "--sbatch needs --slurm"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    run: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run("study", "run", write_study(tmp_path), *options)
    assert done.code == ExitCode.NOTHING_DONE
    assert message in done.err


def test_a_file_that_is_no_study_is_told_in_one_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text('{"methods": {}}')
    done = run("study", "status", path)
    assert done.code == ExitCode.NOTHING_DONE
    assert "not a study: datasets is missing" in done.err


@pytest.mark.slow
def test_a_check_tells_what_is_wrong_and_what_it_takes(run: Run, tmp_path: Path) -> None:
    path = write_study(tmp_path, budget={"gigabytes": 1, "gpu_hours": 1e-9})
    done = run("study", "check", path)
    assert done.code == ExitCode.FAILED
    for text in ("S006", "S007 original on Dataset900_Phantom: is expected to take"):
        assert text in done.err
    assert "1 held-out case can show no difference of means: at least two are needed." in done.out
    assert "GPU hours (estimated, for an A100)" in done.out
    document = json.loads(run("study", "check", path, "--format", "json").out)
    assert [one["method"] for one in document["methods"]] == ["resenc-m", "original"]
    assert {one["rule"] for one in document["findings"]} == {"S006", "S007"}


def test_a_study_without_a_report_is_not_verified(run: Run, tmp_path: Path) -> None:
    done = run("study", "verify", write_study(tmp_path))
    assert done.code == ExitCode.NOTHING_DONE
    assert "so there is no report of a study to verify. `study report` makes it." in done.err


def test_messages_name_options_not_parameters(run: Run, tmp_path: Path) -> None:
    done = run("study", "run", write_study(tmp_path), "--slurm", "--sbatch=bad")
    assert "--sbatch 'bad': an option of sbatch is needed" in done.err


@pytest.mark.slow
def test_status_report_verify_and_job_of_a_finished_study(run: Run, finished: Path) -> None:
    done = run("study", "status", finished)
    assert "3 of 3 jobs are done.\n" in done.out
    assert run("study", "verify", finished).out.startswith("Confirmed: ")
    assert run("study", "job", finished, JOB).code == ExitCode.DONE
    again = run("study", "report", finished, "-o", finished.parent / "again")
    assert again.code == ExitCode.DONE
    assert (finished.parent / "again" / "report.html").is_file()
    refused = run("study", "report", finished, "-o", finished.parent / "again")
    assert refused.code == ExitCode.NOTHING_DONE
    assert "--overwrite" in refused.err
    (finished.parent / "report" / "table.tex").write_text("x")
    changed = run("study", "verify", finished)
    assert changed.code == ExitCode.FAILED
    assert "table.tex is another than the one made again" in changed.err


@pytest.mark.slow
def test_a_full_disk_fails_a_run_and_room_lets_it_go_on(
    run: Run, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(finished.parent / "runs" / NAME / "original")
    shutil.rmtree(finished.parent / "state" / NAME / "original" / "seed_0")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        done = run("study", "job", finished, JOB, "--device", "cpu")
    assert done.code in (ExitCode.FAILED, ExitCode.NOTHING_DONE)
    assert "the disk is full" in done.err + done.out
    assert run("study", "job", finished, JOB, "--device", "cpu").code == ExitCode.DONE
