"""The array scripts of a study; `tests.faults.studies` runs them under bash."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from resenc_plans.errors import StudyError, UsageError
from resenc_plans.study.unattended.jobs import JobOptions
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.slurm import write_slurm
from tests.study.unattended.made_study import NAME, write_study


def test_each_job_is_a_task_of_an_array_that_is_requeued(tmp_path: Path) -> None:
    opened = OpenedStudy.open(write_study(tmp_path / "a b", seeds=[0, 1]))
    options = JobOptions(device="cuda", allow_import=("mylab",))
    scripts = write_slurm(opened, options, ["--gres=gpu:1", "--time=8:00:00"])
    runs, prepare = scripts.runs.read_text(), scripts.prepare.read_text()
    assert scripts.tasks == 5
    for line in ("--array=0-3", "--requeue", "--signal=B:USR1@300", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in runs
    assert "--array=0-0" in prepare
    assert "--gres" not in prepare
    assert "--time=8:00:00" in prepare
    assert "scontrol requeue" in runs
    assert "--device cuda --allow-import mylab" in runs
    tasks = scripts.runs.with_suffix(".txt").read_text().splitlines()
    job = opened.graph.jobs[1]
    assert tasks[0] == f"run/{NAME}/resenc-m/seed_0/fold_0\t{opened.keys[job.pieces[-1]]}"
    for script in (scripts.submit, scripts.runs, scripts.prepare):
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.slow
def test_a_task_of_a_study_that_was_edited_since_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    scripts = write_slurm(OpenedStudy.open(path), JobOptions(device="cpu"))
    document = json.loads(path.read_text())
    document["training"]["learning_rate"] = 0.02
    path.write_text(json.dumps(document))
    done = subprocess.run(
        ["bash", str(scripts.runs)],
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "have changed since this run began" in done.stderr
    assert "write its scripts for SLURM again" in done.stderr


@pytest.mark.parametrize("option", ["time=3", "--a\nrm"])
def test_what_is_no_option_of_sbatch_is_refused(option: str, tmp_path: Path) -> None:
    opened = OpenedStudy.open(write_study(tmp_path))
    with pytest.raises(UsageError, match="an option of sbatch is needed"):
        write_slurm(opened, JobOptions(), [option])


def test_the_path_of_the_logs_is_one_word_without_patterns(tmp_path: Path) -> None:
    folder = tmp_path / 'a b" 50%j'
    scripts = write_slurm(OpenedStudy.open(write_study(folder)), JobOptions())
    lines = scripts.runs.read_text().splitlines()
    (option,) = (line for line in lines if line.startswith("#SBATCH --output="))
    logs = f"{folder}/study/state/logs".replace("%", "%%")
    assert shlex.split(option)[1:] == [f"--output={logs}/slurm_runs_%A_%a.log"]
    assert f"{logs}/slurm_report_%j.log" in scripts.submit.read_text()


@pytest.mark.parametrize("name", ["a\ntouch b", "a\\b"])
def test_a_path_that_would_break_the_scripts_is_refused(name: str, tmp_path: Path) -> None:
    opened = OpenedStudy.open(write_study(tmp_path / name))
    with pytest.raises(StudyError, match="sbatch does not take"):
        write_slurm(opened, JobOptions())
    assert not (opened.places.root / "slurm").exists()
