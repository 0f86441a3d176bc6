"""Where jobs are locked, whatever their names."""

from pathlib import Path

from resenc_plans.execution.locks import lock
from resenc_plans.study.unattended.graph import Job
from resenc_plans.study.unattended.places import StudyPlaces


def test_jobs_of_long_names_are_locked_each_for_itself(tmp_path: Path) -> None:
    places = StudyPlaces(tmp_path)
    places.state_folder.mkdir()
    first, second = (Job(f"run/Dataset900_{'x' * 200}/a/fold_{fold}", ()) for fold in (0, 1))
    assert places.job_log(first) != places.job_log(second)
    with lock(places.job_lock(first), tmp_path), lock(places.job_lock(second), tmp_path):
        pass
