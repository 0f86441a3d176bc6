"""The array scripts of a study; `tests.faults.studies` runs them under bash."""

import subprocess
from pathlib import Path

import pytest

from resenc_plans.errors import UsageError
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
    assert tasks[0] == f"run/{NAME}/resenc-m/seed_0/fold_0"
    for script in (scripts.submit, scripts.runs, scripts.prepare):
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("option", ["time=3", "--a\nrm"])
def test_what_is_no_option_of_sbatch_is_refused(option: str, tmp_path: Path) -> None:
    opened = OpenedStudy.open(write_study(tmp_path))
    with pytest.raises(UsageError, match="an option of sbatch is needed"):
        write_slurm(opened, JobOptions(), [option])
