import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import (
    FileError,
    LockedError,
    ModelError,
    PlansError,
    PreprocessingError,
    ResencPlansError,
    TrainingError,
)
from resenc_plans.plans.architectures import RESIDUAL_ENCODER_UNET
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import AdamW, TrainingSettings
from resenc_plans.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.run_record import RunRecord
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.source import Batch, Batches
from resenc_plans.training.checkpointing import load_pretrained
from resenc_plans.training.defaults import default_batches, default_run_folder
from resenc_plans.training.history import Progress
from resenc_plans.training.losses import BegunLoss, EndedLoss
from resenc_plans.training.ranks import ALONE, Ranks
from resenc_plans.training.reading import Reading
from resenc_plans.training.step import TrainingStep
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows.held_out import validate_held_out
from tests.training.conftest import Fixed

pytestmark = pytest.mark.slow

SHORT = TrainingSettings(
    epochs=3, iterations=3, validation_iterations=1, workers=0, precision="fp32"
)


@dataclass
class Interrupting:
    """Batches of which one comes with a signal."""

    source: Batches
    number: int
    signal: int

    def stream(self, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(self.source.stream(first), first):
            if number == self.number:
                os.kill(os.getpid(), self.signal)
            yield batch


def weights(path: Path) -> dict[str, Any]:
    return dict(load_checkpoint(path).network_weights)


def assert_equal_weights(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_leaves_what_nnunet_leaves(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    events: list[Progress] = []
    result = Trainer(config, dataset, 0, SHORT, on_progress=events.append).fit()
    assert result.is_complete
    model = preprocessed / "nnUNet_results/Dataset900_Phantom"
    model /= "nnUNetTrainer__nnUNetResEncUNetMPlans__tiny"
    assert {path.name for path in model.iterdir()} == {
        *("plans.json", "dataset.json", "dataset_fingerprint.json", "fold_0"),
    }
    assert {path.name for path in (model / "fold_0").iterdir()} == {
        *("checkpoint_best.pth", "checkpoint_final.pth", "cost.json", "debug.json"),
        *("metrics.jsonl", "progress.png", "run.json", "training_log.txt", "cases.json"),
    }
    lines = (model / "fold_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    assert json.loads((model / "plans.json").read_text()) == config.plans.to_dict()
    assert [e.epoch for e in events if e.finished] == [0, 1, 2]
    assert len(json.loads((preprocessed / "splits_final.json").read_text())) == 5


def test_the_picture_names_the_classes(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(
        "resenc_plans.training.records.draw_progress", lambda *with_what: drawn.append(with_what)
    )
    Trainer(config, dataset, 0, SHORT).fit()
    epochs, path, _, classes = drawn[-1]
    assert len(epochs) == 3
    assert path.name == "progress.png"
    labels = dataset.json.labels
    assert classes == tuple(sorted(set(labels) - {"background"}, key=labels.__getitem__))
    assert len(classes) == len(epochs[0].dice)


def test_a_checkpoint_has_nnunets_keys_and_plain_values(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    document = torch.load(path, weights_only=True)
    assert {
        *("network_weights", "optimizer_state", "grad_scaler_state", "logging", "_best_ema"),
        *("current_epoch", "init_args", "trainer_name", "inference_allowed_mirroring_axes"),
    } <= set(document)
    assert document["trainer_name"] == "nnUNetTrainer"
    assert document["current_epoch"] == 3
    assert document["init_args"]["configuration"] == "tiny"
    assert document["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert {len(values) for values in document["logging"].values()} == {3}


def test_the_loss_falls(config: ResolvedConfiguration, dataset: Dataset) -> None:
    settings = SHORT.model_copy(update={"epochs": 6, "iterations": 6})
    epochs = Trainer(config, dataset, 0, settings).fit().epochs
    assert epochs[-1].training_loss < epochs[0].training_loss - 0.2
    assert epochs[0].learning_rate == 0.01
    assert epochs[-1].learning_rate < 0.003


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stopped_run_goes_on_bit_for_bit(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path, number: Any
) -> None:
    undisturbed = Trainer(config, dataset, 0, SHORT).fit().checkpoint.rename(tmp_path / "u.pth")
    training, validation = default_batches(config, dataset, 0, SHORT, ALONE)
    stopped = Trainer(
        *(config, dataset, 0, SHORT),
        overwrite=True,
        training_batches=Interrupting(training, 4, number),
        validation_batches=validation,
    ).fit()
    assert not stopped.is_complete
    assert signal.Signals(number).name in (stopped.reason or "")
    assert stopped.checkpoint.name == "checkpoint_latest.pth"
    assert len(stopped.epochs) == 1
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    result = again.fit()
    assert_equal_weights(undisturbed, result.checkpoint)
    before, after = load_checkpoint(undisturbed), load_checkpoint(result.checkpoint)
    for key in ("train_losses", "val_losses", "dice_per_class_or_region", "ema_fg_dice"):
        assert str(before.logging[key]) == str(after.logging[key])
    assert not stopped.checkpoint.exists()


def test_a_run_that_augments_on_its_device_goes_on_bit_for_bit_and_says_so(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    settings = SHORT.model_copy(update={"augment_on": "device"})
    undisturbed = Trainer(config, dataset, 0, settings).fit().checkpoint.rename(tmp_path / "u.pth")
    stopped = Trainer(
        config, dataset, 0, settings.model_copy(update={"max_minutes": 1e-9}), overwrite=True
    )
    assert not stopped.fit().is_complete
    record = RunRecord.load(stopped.folder.path)
    assert record is not None
    assert record.settings["augment_on"] == "device"
    again = Trainer(config, dataset, 0, SHORT)
    chosen = again.settings.augment_on
    again.resume()
    assert (chosen, again.settings.augment_on) == ("cpu", "device")  # by auto, and as it began
    result = again.fit()
    assert_equal_weights(undisturbed, result.checkpoint)
    resumed = RunRecord.load(again.folder.path)
    assert resumed is not None
    assert resumed.settings["augment_on"] == "device"
    assert not resumed.changes


def test_a_run_goes_on_on_the_cpu_if_no_device_has_its_new_augmentation(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    on_device = SHORT.model_copy(update={"augment_on": "device", "max_minutes": 1e-9})
    begun = Trainer(config, dataset, 0, on_device)
    begun.fit()
    as_before = Trainer(config, dataset, 0, SHORT)
    as_before.resume()
    for batches in (as_before.training_batches, as_before.validation_batches):
        assert isinstance(batches, PatchBatches)
        assert batches.ahead is not None
    assert as_before.run.settings.augment_on == as_before.settings.augment_on == "device"
    assert as_before.record.settings["augment_on"] == "device"
    for augmentation in ({"transforms": "strong"}, {"nearest_labels": True}):
        other = SHORT.model_validate(SHORT.model_dump() | {"augmentation": augmentation})
        again = Trainer(config, dataset, 0, other, allow_differences=True)
        again.resume()
        assert isinstance(again.training_batches, PatchBatches)
        assert again.training_batches.augmenting is None
        assert again.settings.augment_on == "cpu"


def test_a_fused_optimizer_resumes_from_momenta_of_another_memory_format(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    stopped = SHORT.model_copy(update={"epochs": 1, "max_minutes": 1e-9})
    trained: list[dict[str, Any]] = []
    for more in ({}, {"channels_last": True, "fused_optimizer": True}):
        run = RunFolder(tmp_path / f"resumed_{len(trained)}", 0)
        Trainer(config, dataset, 0, stopped, run_folder=run).fit()
        resumed = SHORT.model_copy(update={"epochs": 1, **more})
        again = Trainer(config, dataset, 0, resumed, run_folder=run, allow_differences=True)
        again.resume()
        assert again.fit().is_complete
        trained.append(again.network.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, atol=1e-5, rtol=1e-4)


def test_all_momenta_of_a_weight_are_loaded_in_its_memory_format(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    settings = SHORT.model_copy(update={"optimizer": AdamW(amsgrad=True)})
    Trainer(config, dataset, 0, settings.model_copy(update={"max_minutes": 1e-9})).fit()
    resumed = settings.model_copy(update={"channels_last": True})
    again = Trainer(config, dataset, 0, resumed, allow_differences=True)
    again.resume()
    for weight, momenta in again.step.optimizer.state.items():
        layouts = {value.stride() for value in momenta.values() if value.shape == weight.shape}
        assert layouts == {weight.stride()}


@pytest.mark.parametrize("batch", [2, 4], ids=["training", "validation"])
def test_a_signal_that_reaches_another_rank_first_is_named(
    config: ResolvedConfiguration,
    dataset: Dataset,
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end, ended = BegunLoss.end, count(1)

    def with_another_that_stops(self: BegunLoss, ranks: Ranks, *, stops: bool) -> EndedLoss:
        loss = end(self, ranks, stops=stops)
        if next(ended) == batch:
            loss = replace(loss, stopping=loss.stopping + 1)
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    monkeypatch.setattr(BegunLoss, "end", with_another_that_stops)
    stopped = Trainer(config, dataset, 0, SHORT).fit()
    assert not stopped.is_complete
    assert stopped.reason == "SIGINT was received"


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_run_that_is_stopped_in_the_validation_goes_on_bit_for_bit(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path, number: int
) -> None:
    settings = SHORT.model_copy(update={"validation_iterations": 3, "epochs": 2})
    undisturbed = Trainer(config, dataset, 0, settings).fit().checkpoint.rename(tmp_path / "u.pth")
    training, validation = default_batches(config, dataset, 0, settings, ALONE)
    stopped = Trainer(
        *(config, dataset, 0, settings),
        overwrite=True,
        training_batches=training,
        validation_batches=Interrupting(validation, number, signal.SIGTERM),
    ).fit()
    assert not stopped.is_complete
    assert len(stopped.epochs) == number // 3
    again = Trainer(config, dataset, 0, settings)
    again.resume()
    assert again.iteration == 3
    result = again.fit()
    assert_equal_weights(undisturbed, result.checkpoint)
    before, after = load_checkpoint(undisturbed), load_checkpoint(result.checkpoint)
    for key in ("train_losses", "val_losses", "dice_per_class_or_region", "ema_fg_dice"):
        assert str(before.logging[key]) == str(after.logging[key])


@pytest.mark.slow
def test_a_gradient_scaler_changes_nothing_and_goes_on_with_its_scale(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    """The scaler of CUDA's half precision, here about single precision, where it is exact."""

    def trainer(settings: TrainingSettings) -> Trainer:
        made = Trainer(config, dataset, 0, settings, overwrite=True)
        made.step.scaler = torch.amp.GradScaler("cpu", 2.0**8, growth_interval=2)
        return made

    unscaled = Trainer(config, dataset, 0, SHORT).fit().checkpoint.rename(tmp_path / "plain.pth")
    scaled = trainer(SHORT).fit().checkpoint.rename(tmp_path / "scaled.pth")
    one, other = weights(unscaled), weights(scaled)
    assert all(torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-7) for name in one)
    scale = load_checkpoint(scaled).grad_scaler_state
    assert scale is not None
    assert scale["scale"] == 2.0**12

    budget = SHORT.model_copy(update={"max_minutes": 1e-9})
    assert not trainer(budget).fit().is_complete
    again = trainer(SHORT)
    again.resume()
    resumed = again.fit().checkpoint
    assert_equal_weights(scaled, resumed)
    assert load_checkpoint(resumed).grad_scaler_state == scale


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_learns_the_same(
    config: ResolvedConfiguration, dataset: Dataset, tmp_path: Path
) -> None:
    settings = SHORT.model_copy(update={"epochs": 1, "iterations": 2})
    plain = Trainer(config, dataset, 0, settings).fit().checkpoint.rename(tmp_path / "plain.pth")
    settings = settings.model_copy(update={"compile": True})
    compiled = Trainer(config, dataset, 0, settings, overwrite=True).fit().checkpoint
    one, other = weights(plain), weights(compiled)
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_the_time_budget_ends_a_run(config: ResolvedConfiguration, dataset: Dataset) -> None:
    settings = SHORT.model_copy(update={"max_minutes": 1e-9})
    result = Trainer(config, dataset, 0, settings).fit()
    assert result.reason == "the time budget is spent"
    assert load_checkpoint(result.checkpoint).extra["resenc_plans"]["iteration"] == 1


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import checkpoint_writer as module

    events: list[Progress] = []

    def full(path: Path, *_: object) -> None:
        if path.name != "checkpoint_final.pth":
            raise FileError(f"{path}: not written, the disk is full.")

    first = Trainer(config, dataset, 0, SHORT.model_copy(update={"epochs": 1}))
    first.fit()
    old = first.folder.checkpoint("checkpoint_best.pth")
    before = old.read_bytes()
    runner = Trainer(config, dataset, 0, SHORT, on_progress=events.append)
    runner.resume()
    runner.best = None  # so that the next epoch is the best
    monkeypatch.setattr(module, "save_checkpoint", full)
    runner.fit()
    assert old.read_bytes() == before
    assert any("the disk is full" in (event.note or "") for event in events)


def test_an_epoch_whose_checkpoint_is_not_written_is_not_the_best(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import checkpoint_writer
    from resenc_plans.training import trainer as module

    dice = iter([(0.25,), (0.75,), (0.5,)])

    def full(path: Path, checkpoint: Checkpoint) -> None:
        if path.name == "checkpoint_best.pth" and checkpoint.current_epoch == 2:
            raise FileError(f"{path}: not written, the disk is full.")
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", full)
    monkeypatch.setattr(module, "dice_of", lambda *_: next(dice))
    monkeypatch.setattr(module, "smoothed", lambda _, mean_dice: mean_dice)
    trainer = Trainer(config, dataset, 0, SHORT, on_progress=lambda _: None)
    assert load_checkpoint(trainer.fit().checkpoint).best_ema == 0.5
    best = load_checkpoint(trainer.folder.checkpoint("checkpoint_best.pth"))
    assert (best.best_ema, best.current_epoch) == (0.5, 3)


def test_where_the_last_checkpoint_is_not_written_the_one_before_it_stays(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import checkpoint_writer as module

    def full(path: Path, checkpoint: Checkpoint) -> None:
        if path.name == "checkpoint_final.pth":
            raise FileError(f"{path}: not written, the disk is full.")
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(module, "save_checkpoint", full)
    settings = SHORT.model_copy(update={"checkpoint_epochs": 2})
    with pytest.raises(FileError, match=r"the disk is full\. Make room, then resume"):
        Trainer(config, dataset, 0, settings).fit()
    monkeypatch.undo()
    again = Trainer(config, dataset, 0, settings)
    assert again.resume().name in ("checkpoint_latest.pth", "checkpoint_best.pth")
    assert again.fit().is_complete


def test_a_checkpoint_that_is_not_written_is_told_without_a_listener_too(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import checkpoint_writer as module

    def full(path: Path, *_: object) -> None:
        if path.name == "checkpoint_best.pth":
            raise FileError(f"{path}: not written, the disk is full.")

    monkeypatch.setattr(module, "save_checkpoint", full)
    with pytest.warns(UserWarning, match="the disk is full"):
        Trainer(config, dataset, 0, SHORT).fit()


def test_a_log_that_cannot_be_written_does_not_end_the_run(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    events: list[Progress] = []

    def listen(event: Progress) -> None:
        if not events:
            (runner.folder.path / "training_log.txt").mkdir()
        events.append(event)

    runner = Trainer(config, dataset, 0, SHORT, on_progress=listen)
    assert runner.fit().is_complete
    assert any("Is a directory" in (event.note or "") for event in events)


def test_half_a_checkpoint_of_a_killed_run_does_not_stay(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans import files

    runner = Trainer(config, dataset, 0, SHORT)
    runner.folder.prepare(config, dataset)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it were killed
    with pytest.raises(ZeroDivisionError), files.replace_file(runner.folder.checkpoint("a.pth")):
        raise ZeroDivisionError
    monkeypatch.undo()
    assert [path.suffix for path in runner.folder.path.iterdir()] == [".tmp"]
    runner.fit()
    assert not list(runner.folder.path.glob(".*"))


def test_a_fold_that_another_training_writes_to_is_refused_and_left_alone(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    trainer = Trainer(config, dataset, 0, SHORT)
    with trainer.folder.locked():
        trainer.folder.path.mkdir()
        unfinished = trainer.folder.path / ".0123456789abcdef01234567.tmp"
        unfinished.touch()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on host"):
            Trainer(config, dataset, 0, SHORT).fit()
        (dataset.folder / "gt_segmentations").mkdir()
        with pytest.raises(LockedError):
            validate_held_out(config, dataset, trainer.folder)
    assert list(trainer.folder.path.iterdir()) == [unfinished]


def test_the_pause_before_a_resume_is_no_part_of_the_epoch(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:

    budget = SHORT.model_copy(update={"max_minutes": 1e-9})
    assert not Trainer(config, dataset, 0, budget).fit().is_complete
    now, pause = time.time, 1e6
    monkeypatch.setattr(time, "time", lambda: now() + pause)
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    assert max(epoch.seconds for epoch in again.fit().epochs) < pause / 10


def test_the_device_is_chosen_by_name(config: ResolvedConfiguration, dataset: Dataset) -> None:
    assert Trainer(config, dataset, 0, SHORT, device="cpu").device.type == "cpu"
    with pytest.raises(ResencPlansError, match="Device 'toaster'"):
        Trainer(config, dataset, 0, SHORT, device="toaster")
    half = SHORT.model_copy(update={"precision": "fp16"})
    with pytest.raises(ResencPlansError, match="no gradient scaler"):
        Trainer(config, dataset, 0, half, ranks=Ranks(0, 1, torch.device("mps")))


def test_processes_of_training_and_validation_start_before_the_first_batch(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    children: list[int] = []
    settings = SHORT.model_copy(update={"epochs": 1, "workers": 1})
    trainer = Trainer(config, dataset, 0, settings)
    launch = trainer.step.launch

    def launching(*arguments: Any, **options: Any) -> Any:
        children.append(len(multiprocessing.active_children()))
        return launch(*arguments, **options)

    vars(trainer.step)["launch"] = launching
    before = len(multiprocessing.active_children())
    trainer.fit()
    assert children == [before + 2] * settings.iterations


def test_the_validation_is_reported_too(config: ResolvedConfiguration, dataset: Dataset) -> None:
    events: list[Progress] = []
    settings = SHORT.model_copy(update={"validation_iterations": 2})
    Trainer(config, dataset, 0, settings, on_progress=events.append).fit()
    seen = [(e.iteration, e.iterations) for e in events if e.epoch == 1 and not e.is_training]
    assert seen == [(1, 2), (2, 2)]


def test_losses_that_are_no_numbers_end_the_run_and_name_the_cases(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return logits.mean() * float("nan")

    settings = SHORT.model_copy(update={"iterations": 20})
    runner = Trainer(config, dataset, 0, settings, loss=loss, name="Own")
    with pytest.raises(ResencPlansError, match=r"5 batches in a row.*phantom_\d"):
        runner.fit()
    assert all(torch.isfinite(value).all() for value in runner.network.state_dict().values())


def test_a_missing_tensorboard_is_noticed_before_anything_is_moved(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Trainer(config, dataset, 0, SHORT.model_copy(update={"epochs": 1}))
    first.fit()
    before = files(first.folder.model)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = SHORT.model_copy(update={"tensorboard": True})
    with pytest.raises(TrainingError, match="needs the extra tensorboard"):
        Trainer(config, dataset, 0, board, overwrite=True).fit()
    assert files(first.folder.model) == before
    assert not first.folder.replaced.exists()


def test_ones_own_network_and_loss_are_used(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    network = torch.nn.Conv3d(2, 4, 1)
    before = network.weight.detach().clone()

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        assert logits.shape[2:] == target.shape[2:]
        return torch.nn.functional.cross_entropy(logits, target[:, 0].long())

    Trainer(config, dataset, 0, SHORT, network=network, loss=loss, name="Own").fit()
    assert not torch.equal(before, network.weight)


def test_plans_that_are_saved_need_not_be_loaded_again(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    plan = Plans.from_dict(config.plans.to_dict())
    with pytest.raises(PlansError, match="Save the plans into the folder of the preprocessed"):
        Trainer(plan.resolve("tiny"), dataset, 0, SHORT)
    plan.save(preprocessed / f"{plan.name}.json")
    trainer = Trainer(plan.resolve("tiny"), dataset, 0, SHORT)
    assert trainer.folder.path.is_relative_to(preprocessed)


def test_ones_own_sampler_is_for_training_alone(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    trainer = Trainer(
        config, dataset, 0, SHORT, sampler=Fixed("phantom_001", (0, 0, 0)), name="Own"
    )
    assert set(next(trainer.training_batches.stream(0)).cases) == {"phantom_001"}
    assert isinstance(trainer.validation_batches, PatchBatches)
    assert trainer.validation_batches.source.sampler is None
    assert trainer.fit().is_complete


def test_gradients_that_are_no_numbers_end_the_run_too(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - logits.detach()).abs().sum().sqrt()

    settings = SHORT.model_copy(update={"iterations": 20})
    with pytest.raises(ResencPlansError, match="gradients were not finite in 5 batches"):
        Trainer(config, dataset, 0, settings, loss=loss, name="Own").fit()
    scaled = Trainer(config, dataset, 0, settings, loss=loss, name="Own")
    scaled.step.scaler = torch.amp.GradScaler("cpu", 2.0**6)
    with pytest.raises(ResencPlansError, match="gradients were not finite in 5 batches"):
        scaled.fit()
    assert len(scaled.epoch_losses) == 6 + 4


def test_what_a_step_found_is_read_while_the_next_one_runs_and_no_bit_changes(
    config: ResolvedConfiguration,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    def noting(what: str, method: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            order.append(what)
            return method(*arguments, **options)

        return noted

    monkeypatch.setattr(TrainingStep, "gradients", noting("L", TrainingStep.gradients))
    monkeypatch.setattr(Reading, "numbers", noting("r", Reading.numbers))

    def train(name: str, *, late: bool, stopped_at: int | None = None) -> tuple[Any, ...]:
        """Of ten batches in two epochs, the third and the seventh have no gradients."""
        folder = RunFolder(tmp_path / name, 0)
        told: list[tuple[Any, ...]] = []
        settings = SHORT.model_copy(
            update={"epochs": 2, "iterations": 5, "checkpoint_minutes": 1e-9 if stopped_at else 30}
        )
        for number in (stopped_at, None) if stopped_at else (None,):

            def listen(progress: Progress, number: int | None = number) -> None:
                where = (progress.epoch, progress.iteration, progress.is_training)
                told.append((*where, str(progress.loss), progress.finished is not None))
                done = 5 * progress.epoch + progress.iteration
                if progress.is_training and done == number:
                    os.kill(os.getpid(), signal.SIGTERM)

            trainer = Trainer(config, dataset, 0, settings, run_folder=folder, on_progress=listen)
            if folder.checkpoints():
                trainer.resume()
            batches = trainer.step.gradients

            def gradients(
                batch: Batch,
                trainer: Trainer = trainer,
                batches: Any = batches,
                **options: bool,
            ) -> Any:
                loss, norm = batches(batch, **options)
                if trainer._batches_done() in (2, 6):
                    for weight in trainer.network.parameters():
                        assert weight.grad is not None
                        weight.grad.fill_(float("nan"))
                    norm = torch.full_like(norm, float("nan"))
                return loss, norm

            monkeypatch.setattr(trainer.step, "gradients", gradients)
            trainer.step.is_read_late = late
            result = trainer.fit()
        saved = load_checkpoint(result.checkpoint)
        assert saved.optimizer_state is not None
        momenta = [state["momentum_buffer"] for state in saved.optimizer_state["state"].values()]
        losses = [line["training_loss"] for line in map(json.loads, lines(folder))]
        return [*saved.network_weights.values(), *momenta], losses, told

    def lines(folder: RunFolder) -> list[str]:
        return (folder.path / "metrics.jsonl").read_text().splitlines()

    at_once = train("at once", late=False)
    assert "".join(order).startswith("LrLrLrLrLr")
    order.clear()
    late = train("late", late=True)
    assert "".join(order) == "LrLLrLrLrrr" + "LLrLrLrLrrr"  # each epoch with its validation
    assert late[1:] == at_once[1:]
    stopped = train("stopped", late=True, stopped_at=7)
    assert stopped[1] == at_once[1]
    for others in (late[0], stopped[0]):
        assert all(torch.equal(a, b) for a, b in zip(at_once[0], others, strict=True))


def test_losses_that_are_no_numbers_end_a_run_that_reads_late(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return logits.mean() * (float("nan") if next(calls) > 4 else 1)

    calls = count(1)
    settings = SHORT.model_copy(update={"iterations": 20, "deep_supervision": False})
    runner = Trainer(config, dataset, 0, settings, loss=loss, name="Own")
    runner.step.is_read_late = True
    with pytest.raises(ResencPlansError, match=r"Epoch 0: .*5 batches in a row.*phantom_\d"):
        runner.fit()
    assert (len(runner.epoch_losses), runner.iteration) == (4 + 4, 4 + 6)
    assert all(torch.isfinite(value).all() for value in runner.network.state_dict().values())


@pytest.mark.slow
def test_a_run_that_is_prolonged_or_begun_anew_goes_on_where_it_was(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    Trainer(config, dataset, 0, SHORT).fit()
    longer = SHORT.model_copy(update={"epochs": 5})
    budget = longer.model_copy(update={"max_minutes": 1e-9})
    prolonged = Trainer(config, dataset, 0, budget)
    assert prolonged.resume().name == "checkpoint_final.pth"
    assert not prolonged.fit().is_complete
    again = Trainer(config, dataset, 0, longer)
    assert again.resume().name == "checkpoint_latest.pth"
    assert (len(again.epochs), again.iteration) == (3, 1)

    Trainer(config, dataset, 0, budget, overwrite=True).fit()
    again = Trainer(config, dataset, 0, longer)
    again.resume()
    assert (len(again.epochs), again.iteration) == (0, 1)
    result = again.fit()
    metrics = (result.checkpoint.parent / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in metrics] == [0, 1, 2, 3, 4]


def test_an_epoch_without_any_class_is_not_the_best_for_ever(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import trainer as module

    dice = iter([(float("nan"),), (0.5,), (0.25,)])
    monkeypatch.setattr(module, "dice_of", lambda *_: next(dice))
    Trainer(config, dataset, 0, SHORT).fit()
    best = default_run_folder(config, dataset, 0).checkpoint("checkpoint_best.pth")
    assert load_checkpoint(best).best_ema == 0.5
    assert load_checkpoint(best).current_epoch == 2


def hold_out(preprocessed: Path, case: str) -> None:
    """Write a split whose first fold holds out one of the six cases."""
    train = [name for name in (f"phantom_00{number}" for number in range(6)) if name != case]
    (preprocessed / "splits_final.json").write_text(json.dumps([{"train": train, "val": [case]}]))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_not_resumed_on_other_cases_unasked(
    config: ResolvedConfiguration,
    dataset: Dataset,
    preprocessed: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold_out(preprocessed, "phantom_004")
    budget = SHORT.model_copy(update={"max_minutes": 1e-9})
    folder = Trainer(config, dataset, 0, budget).folder
    Trainer(config, dataset, 0, budget).fit()
    before = files(folder.model)
    hold_out(preprocessed, "phantom_005")
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    with pytest.raises(
        TrainingError,
        match=r"fold_0: .*cases to train on: now also phantom_004, no longer phantom_005; "
        r"held-out cases: now also phantom_005, no longer phantom_004\. .*`allow_differences=`",
    ):
        again.fit()
    assert files(folder.model) == before
    allowed = Trainer(config, dataset, 0, SHORT, allow_differences=True)
    allowed.resume()
    assert allowed.fit().is_complete
    assert "cases to train on: now also phantom_004" in caplog.text
    cases = FoldCases.load(folder.path)
    assert cases is not None
    assert cases.val == ("phantom_005",)


def test_where_no_epoch_follows_the_record_of_the_cases_stays(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    hold_out(preprocessed, "phantom_004")
    Trainer(config, dataset, 0, SHORT).fit()
    hold_out(preprocessed, "phantom_005")
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    assert again.fit().is_complete
    cases = FoldCases.load(again.folder.path)
    assert cases is not None
    assert cases.val == ("phantom_004",)


def test_a_run_is_not_resumed_with_other_settings_unasked_and_its_record_names_them(
    config: ResolvedConfiguration, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    budget = SHORT.model_copy(update={"max_minutes": 1e-9})
    begun = budget.model_copy(update={"learning_rate": 0.1, "gradient_clip": 1.0})
    folder = Trainer(config, dataset, 0, begun).folder
    Trainer(config, dataset, 0, begun).fit()
    before = files(folder.model)
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    differences = "learning_rate 0.1, now 0.01; gradient_clip 1.0, now 12.0"
    with pytest.raises(TrainingError, match=rf"so far: {differences}\. .*`allow_differences=`"):
        again.fit()
    assert files(folder.model) == before
    for settings in (budget, SHORT):
        allowed = Trainer(config, dataset, 0, settings, allow_differences=True)
        allowed.resume()
        allowed.fit()
    assert allowed.epochs[2:]
    assert caplog.text.count(differences) == 1
    record = RunRecord.load(folder.path)
    assert record is not None
    assert record.flat_settings["learning_rate"] == 0.01
    [change] = record.changes
    assert (change.epoch, "; ".join(change.differences)) == (0, differences)


def test_settings_that_train_nothing_are_not_recorded(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    begun = SHORT.model_copy(update={"learning_rate": 0.1})
    folder = Trainer(config, dataset, 0, begun).folder
    Trainer(config, dataset, 0, begun).fit()
    before = files(folder.model)
    again = Trainer(config, dataset, 0, SHORT)
    again.resume()
    assert again.fit().is_complete
    after = files(folder.model)
    assert {name for name in before if after[name] != before[name]} == {"cost.json"}


def test_a_fold_that_another_process_has_trained_since_it_was_loaded_is_left_alone(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    budget = SHORT.model_copy(update={"max_minutes": 1e-9})
    folder = Trainer(config, dataset, 0, budget).folder
    Trainer(config, dataset, 0, budget).fit()
    late, early = (Trainer(config, dataset, 0, SHORT) for _ in range(2))
    for trainer in (late, early):
        trainer.resume()
    assert early.fit().is_complete
    before = files(folder.model)
    with pytest.raises(TrainingError, match=r"another process has trained it .* Resume it again"):
        late.fit()
    assert files(folder.model) == before
    assert not folder.replaced.exists()


def test_a_run_that_is_ended_early_records_the_epochs_that_it_has_trained(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    training, validation = default_batches(config, dataset, 0, SHORT, ALONE)
    stopped = Trainer(
        *(config, dataset, 0, SHORT),
        training_batches=Interrupting(training, 3, signal.SIGTERM),
        validation_batches=validation,
    )
    assert len(stopped.fit().epochs) == 1
    again = Trainer(config, dataset, 0, SHORT.model_copy(update={"epochs": 1}))
    again.resume()
    assert again.fit().is_complete
    record = RunRecord.load(again.folder.path)
    assert record is not None
    assert record.flat_settings["epochs"] == 1


def test_a_checkpoint_of_another_run_is_refused(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    with pytest.raises(TrainingError, match="is of fold 0, not 1"):
        Trainer(config, dataset, 1, SHORT).resume(path)
    with pytest.raises(TrainingError, match="trained with seed 0, not 5"):
        Trainer(config, dataset, 0, SHORT.model_copy(update={"seed": 5})).resume(path)
    default_run_folder(config, dataset, 3)
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        Trainer(config, dataset, 3, SHORT).resume()


def changed(config: ResolvedConfiguration, **changes: object) -> ResolvedConfiguration:
    document = config.plans.to_dict()
    document["configurations"]["tiny"] |= changes
    return Plans.from_dict(document, path=config.plans.path).resolve("tiny")


def test_a_checkpoint_of_other_plans_of_the_same_name_is_refused(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    other = Trainer(changed(config, patch_size=[8, 16, 32]), dataset, 0, SHORT)
    with pytest.raises(TrainingError, match="another tiny: patch_size 8x16x16, now 8x16x32"):
        other.resume(path)
    architecture = config.to_dict()["architecture"]
    arguments = architecture["arch_kwargs"] | {"features_per_stage": [4, 6]}
    architecture |= {"arch_kwargs": arguments}
    other = Trainer(changed(config, architecture=architecture), dataset, 0, SHORT)
    with pytest.raises(TrainingError, match=r"features_per_stage 4x8, now 4x6\."):
        other.resume(path)


def test_a_checkpoint_of_other_labels_is_refused(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    document = json.loads((preprocessed / "dataset.json").read_text())
    *_, last = document["labels"]
    document["labels"]["ignore"] = document["labels"].pop(last)
    (preprocessed / "dataset.json").write_text(json.dumps(document))
    other = Trainer(config, Dataset.load(str(preprocessed)), 0, SHORT)
    with pytest.raises(
        TrainingError, match="all_labels 0x1x2x3, now 0x1x2; ignore_label None, now 3"
    ):
        other.resume(path)


def test_the_batch_size_and_names_may_change_on_the_way(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    spacing = [float(length) + 1e-9 for length in config.spacing]
    other = changed(config, batch_size=2, spacing=spacing, median_image_size_in_voxels=[1, 2, 3])
    assert Trainer(other, dataset, 0, SHORT).resume(path) == path


def test_weights_of_another_dataset_are_taken_but_for_the_heads(
    config: ResolvedConfiguration, dataset: Dataset
) -> None:
    from resenc_plans.networks.build import build_network

    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint
    other = build_network(config, 2, 7)
    heads = {name: value.clone() for name, value in other.state_dict().items() if "seg_" in name}
    skipped = load_pretrained(other, path, RESIDUAL_ENCODER_UNET)
    assert set(skipped) == set(heads)
    assert all(torch.equal(other.state_dict()[name], heads[name]) for name in heads)
    trained = weights(path)
    assert all(
        torch.equal(value, trained[name])
        for name, value in other.state_dict().items()
        if name not in heads
    )
    with pytest.raises(ModelError, match="another architecture"):
        load_pretrained(build_network(config, 1, 4), path, RESIDUAL_ENCODER_UNET)


def test_missing_or_damaged_data_is_found_before_the_first_batch(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    store = preprocessed / config.data_identifier
    case = next(store.glob("*_seg.b2nd"))
    case.write_bytes(b"nothing")
    with pytest.raises(FileError, match=rf"{case.name}.*Preprocess the case again"):
        Trainer(config, dataset, 0, SHORT)
    case.unlink()
    with pytest.raises(FileError, match=rf"{case.name}: is missing\. Preprocess the case again"):
        Trainer(config, dataset, 0, SHORT)
    for path in store.glob("phantom_1*"):
        path.unlink()
    store.rename(store.with_name("elsewhere"))
    with pytest.raises(FileError, match="Preprocess the dataset first"):
        Trainer(config, dataset, 0, SHORT)


def test_properties_that_are_damaged_or_missing_are_found_before_the_first_batch(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    path = preprocessed / config.data_identifier / "phantom_002.pkl"
    content = path.read_bytes()
    for damaged in (b"", content[:-20], bytes(len(content))):
        path.write_bytes(damaged)
        with pytest.raises(
            PreprocessingError, match=r"phantom_002\.pkl: is damaged. Preprocess the case"
        ):
            Trainer(config, dataset, 0, SHORT)
    path.unlink()
    with pytest.raises(
        PreprocessingError, match=r"phantom_002\.pkl: cannot be read \(No such file"
    ):
        Trainer(config, dataset, 0, SHORT)


def test_metrics_are_json_where_a_class_has_no_dice(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resenc_plans.training import trainer as module

    monkeypatch.setattr(module, "dice_of", lambda *_: (float("nan"), 0.5))
    path = Trainer(config, dataset, 0, SHORT).fit().checkpoint.with_name("metrics.jsonl")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = path.read_text().splitlines()
    figures = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [line["dice"] for line in figures] == [[None, 0.5]] * 3


def test_cases_of_a_split_that_are_not_stored_are_named(
    config: ResolvedConfiguration, dataset: Dataset, preprocessed: Path
) -> None:
    (preprocessed / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    with pytest.raises(PreprocessingError, match=r"2 of 2 cases .*: a, b\. Preprocess"):
        Trainer(config, dataset, 0, SHORT)


def test_a_training_says_at_its_start_that_convolutions_are_slow_here(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    settings = SHORT.model_copy(update={"epochs": 1})
    events: list[Progress] = []
    runner = Trainer(config, dataset, 0, settings, device="cpu", on_progress=events.append)
    runner.device = torch.device("cuda", 0)  # the step stays on the CPU
    runner.fit()
    assert "cuDNN 9.10.2" in (events[0].note or "")
