"""What a killed run has recorded agrees with the checkpoint from which it resumes."""

import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.checkpoint import Checkpoint, save_checkpoint
from resenc_plans.runs.run_folder import METRICS, RunFolder
from resenc_plans.training import checkpoint_writer
from resenc_plans.training.trainer import Trainer

pytestmark = pytest.mark.slow

SETTINGS = TrainingSettings(
    epochs=3,
    iterations=1,
    validation_iterations=1,
    workers=0,
    precision="fp32",
    checkpoint_epochs=1,
)
TIMES = {"begun", "ended", "waited"}


class Killed(BaseException):
    """The end of a process, which no handler of errors sees."""


def figures(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times."""
    lines = [json.loads(line) for line in (folder.path / METRICS).read_text().splitlines()]
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


@pytest.mark.parametrize("is_written", [True, False], ids=["after", "before"])
def test_a_run_that_is_killed_at_the_checkpoint_of_an_epoch_loses_no_line(
    config: ResolvedConfiguration,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,
) -> None:
    undisturbed = RunFolder(tmp_path / "undisturbed", 0)
    Trainer(config, dataset, 0, SETTINGS, run_folder=undisturbed).fit()

    def kill_at_second_epoch(path: Path, checkpoint: Checkpoint) -> None:
        if checkpoint.current_epoch < 2 or is_written:
            save_checkpoint(path, checkpoint)
        if checkpoint.current_epoch == 2:
            raise Killed

    folder = RunFolder(tmp_path / "killed", 0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "save_checkpoint", kill_at_second_epoch)
        with pytest.raises(Killed):
            Trainer(config, dataset, 0, SETTINGS, run_folder=folder).fit()
    resumed = Trainer(config, dataset, 0, SETTINGS, run_folder=folder)
    resumed.resume()
    assert len(resumed.epochs) == (2 if is_written else 1)
    resumed.fit()
    assert figures(folder) == figures(undisturbed)
    assert [line["epoch"] for line in figures(folder)] == [0, 1, 2]
