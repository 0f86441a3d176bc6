from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done
from tests.datasets.old_tasks import write_task


def test_an_old_task_is_written_under_its_new_name(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    task = write_task(tmp_path / "Task005_Prostate", channels=1, old=True)
    raw = tmp_path / "raw"
    raw.mkdir()
    done = run("convert-old", task, "Dataset005_Prostate", "--raw", raw)
    assert done.code == 0
    assert (raw / "Dataset005_Prostate" / "labelsTr" / "prostate_00.nii.gz").is_file()
    assert run("convert-old", task, "Prostate", "--raw", raw).code == 2
