"""What the command `train` adds to a training: its preview, its messages, one process after it."""

import json
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from resenc_plans.cli import training_rank
from resenc_plans.cli.app import main
from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import TrainingError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training import launch, ranks
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows import held_out, train_fold

pytestmark = pytest.mark.slow

ONCE = TrainingSettings(
    epochs=1, iterations=1, validation_iterations=1, workers=0, precision="fp32", compile=False
)


@pytest.fixture
def command(
    config: ResolvedConfiguration,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """`train` for the configuration `tiny`, without the fold."""
    settings = tmp_path / "settings.json"
    settings.write_text(ONCE.model_dump_json())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "of the user"))
    options = ["-p", str(config.plans.path), "--settings", str(settings), "--device", "cpu"]
    return ["resenc-plans", "train", str(dataset.folder), "tiny", *options]


def ends(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", list(arguments))
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_dry_run_tells_what_the_checks_find(
    config: ResolvedConfiguration,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = config.plans.path
    assert path is not None
    document = json.loads(path.read_text())
    document["configurations"]["tiny"]["patchsize"] = [16, 16, 16]
    path.write_text(json.dumps(document))
    assert ends(monkeypatch, *command, "1", "--dry-run") == 0
    error = " ".join(capsys.readouterr().err.split())
    assert "tiny: patchsize is unknown, so it has no effect. Did you mean patch_size?" in error


def test_a_dry_run_refuses_other_settings_as_the_run_does(
    config: ResolvedConfiguration,
    dataset: Dataset,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Trainer(config, dataset, 0, ONCE, device="cpu").fit()
    other = [*command, "1", "--no-validation", "--iterations", "2"]
    messages = []
    for option in ((), ("--dry-run",)):
        assert ends(monkeypatch, *other, *option) == 2
        messages.append(" ".join(capsys.readouterr().err.split()))
    assert "iterations 1, now 2. " in messages[0]
    assert messages[0] == messages[1]
    for allowed in ([*other, "--allow-differences"], [*other, "--name", "Longer"]):
        assert ends(monkeypatch, *allowed, "--dry-run") == 0
    assert ends(monkeypatch, *command, "1", "--dry-run") == 0


def test_a_dry_run_says_where_a_run_resumes_and_what_it_cannot_change(
    config: ResolvedConfiguration,
    dataset: Dataset,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resume = [*command, "0", "--no-validation", "--resume"]
    assert ends(monkeypatch, *resume, "--dry-run") == 0
    assert "has no checkpoint yet: training begins at the start." in capsys.readouterr().out
    Trainer(config, dataset, 0, ONCE, device="cpu").fit()
    longer = [*resume, "--epochs", "3"]
    assert ends(monkeypatch, *longer, "--dry-run") == 0
    assert "checkpoint_final.pth with epoch 2 of 3." in capsys.readouterr().out
    for changed, what in (
        (("--iterations", "2"), "Resume with iterations 1, or begin anew (--overwrite)."),
        (("--precision", "bf16"), "change it knowingly (--allow-differences)."),
    ):
        messages = []
        for option in ((), ("--dry-run",)):
            assert ends(monkeypatch, *longer, *changed, *option) == 2
            said = " ".join(capsys.readouterr().err.split())
            messages.append(said.partition("Error: ")[2])
        assert messages[0].endswith(what)
        assert messages[0] == messages[1]


def test_a_run_that_was_complete_already_is_not_said_to_be_trained(
    config: ResolvedConfiguration,
    dataset: Dataset,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Trainer(config, dataset, 0, ONCE, device="cpu").fit()
    resume = [*command, "0", "--no-validation", "--resume"]
    assert ends(monkeypatch, *resume) == 0
    done = capsys.readouterr()
    assert "Complete already, with 1 epoch: " in done.out
    assert "Trained" not in done.out
    assert "is complete with 1 epoch: nothing is left to train." in " ".join(done.err.split())
    assert ends(monkeypatch, *resume, "--epochs", "2") == 0
    done = capsys.readouterr()
    assert "Trained 2 epochs: " in done.out
    assert "checkpoint_final.pth with epoch 2 of 2." in " ".join(done.err.split())


def test_the_trainer_is_gone_before_the_command_validates(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainers: list[weakref.ref[Trainer]] = []

    class Watched(Trainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            trainers.append(weakref.ref(self))

    def validate(*_: object, **__: object) -> None:
        raise TrainingError(f"Alive: {[reference() for reference in trainers]}")

    monkeypatch.setattr(train_fold, "Trainer", Watched)
    monkeypatch.setattr(held_out, "validate_held_out", validate)
    assert ends(monkeypatch, *command, "0") != 0
    assert "Error: Alive: [None]" in capsys.readouterr().err


@pytest.mark.parametrize("is_told", [False, True])
def test_why_ranks_were_stopped_is_told_once(
    is_told: bool,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def launched(_: int, __: str, path: str) -> launch.End:
        if is_told:
            monkeypatch.setattr(training_rank, "run_job", lambda _: ExitCode.STOPPED)
            training_rank.main(Path(path))
        return launch.End(ExitCode.STOPPED, "Stopped by SIGTERM.")

    monkeypatch.setattr(launch, "launch", launched)
    assert ends(monkeypatch, *command, "0", "--gpus", "2") == ExitCode.STOPPED
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("Stopped by SIGTERM. Continue with --resume.") == (not is_told)


@pytest.mark.parametrize("starter", ["torchrun", "--gpus"])
def test_the_error_of_a_rank_names_it_and_the_options(
    starter: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TrainingError("Other weights (`pretrained=`), or begin anew (`overwrite=`).")

    def launched(processes: int, module: str, path: str) -> launch.End:
        assert (processes, module) == (2, training_rank.__name__)
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert json.loads(Path(path).read_text())["fold"] == 0
        return launch.End(training_rank.main(Path(path)))

    together = Ranks(1, 2, torch.device("cpu"))
    monkeypatch.setattr(ranks, "joined_ranks", lambda _: nullcontext(together))
    monkeypatch.setattr(train_fold, "train_fold", refuse)
    monkeypatch.setattr(launch, "launch", launched)
    if starter == "torchrun":
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert ends(monkeypatch, *command, "0") == 1
    else:
        assert ends(monkeypatch, *command, "0", "--gpus", "2") == 1
    said = " ".join(capsys.readouterr().err.split())
    expected = "Error: Rank 1 of 2: Other weights (--pretrained), or begin anew (--overwrite)."
    assert said.endswith(expected)
    assert said.count("Error") == 1
