from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done
from tests.datasets.old_tasks import write_task


def test_a_task_is_written_to_the_raw_folder(run: Callable[..., Done], tmp_path: Path) -> None:
    task = write_task(tmp_path / "Task05_Prostate", channels=2)
    raw = tmp_path / "raw"
    done = run("convert-msd", "-i", task, "--raw", raw)
    assert (done.code, "no such folder" in done.err) == (2, True)
    raw.mkdir()
    done = run("convert-msd", "-i", task, "-overwrite_id", "12", "-np", "1", "--raw", raw)
    assert done.code == 0
    assert "Dataset012_Prostate" in done.out
    assert run("verify", "-d", raw / "Dataset012_Prostate").code in (0, 1)
    done = run("convert-msd", "-i", task, "--id", "12", "--raw", raw)
    assert done.code == 2
    assert "is taken by" in done.err
