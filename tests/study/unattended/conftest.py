"""A study that was run, job by job, in this process."""

import shutil
from pathlib import Path

import pytest

from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.study.unattended.jobs import JobOptions, do_job
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.study import Study
from tests.study.unattended.made_study import write_study


def do_all(path: Path, options: JobOptions = JobOptions(device="cpu")) -> list[ExitCode]:  # noqa: B008
    """Do every job of a study; the exit codes."""
    opened = OpenedStudy.open(path)
    return [do_job(opened, job, options) for job in opened.graph.jobs]


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset and of a study that was run, with its report; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder)
    assert do_all(path) == [ExitCode.DONE] * 3
    Study.load(path).report()
    return folder


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> Path:
    """The study.json of a copy of it."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_folder, folder)
    return folder / "study" / "study.json"
