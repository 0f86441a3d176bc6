import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.run_cost import COST_JSON, RunCost, load_cost
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training import meter
from resenc_plans.training.defaults import default_run_folder
from resenc_plans.training.history import Progress
from resenc_plans.training.meter import Meter
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.trainer import Trainer
from tests.execution.test_gpus import GPU, nvidia_smi

pytestmark = pytest.mark.slow

__all__ = ["nvidia_smi"]

SHORT = TrainingSettings(
    epochs=2, iterations=2, validation_iterations=1, workers=0, precision="fp32"
)


@pytest.fixture
def path(config: ResolvedConfiguration, dataset: Dataset) -> Path:
    return default_run_folder(config, dataset, 0).path / COST_JSON


def train(
    config: ResolvedConfiguration,
    dataset: Dataset,
    *,
    stop_after: int | None = None,
    resume: bool = False,
) -> list[Progress]:
    """Train on the CPU; stopped after this epoch's first batch, counted from 0."""
    events: list[Progress] = []

    def on_progress(event: Progress) -> None:
        events.append(event)
        if event.is_training and event.epoch == stop_after and event.iteration == 1:
            signal.raise_signal(signal.SIGTERM)

    trainer = Trainer(config, dataset, 0, SHORT, device="cpu", on_progress=on_progress)
    if resume:
        trainer.resume()
    trainer.fit()
    return events


def test_a_run_records_what_it_took(
    config: ResolvedConfiguration, dataset: Dataset, path: Path
) -> None:
    train(config, dataset)
    cost = load_cost(path)
    [session] = cost.sessions
    assert 0 < cost.hours < 1
    assert (session.first_epoch, session.epochs_done) == (0, 2)
    assert (session.device, session.ranks, session.torch) == ("cpu", 1, torch.__version__)
    assert session.device_name
    assert cost.peak("allocated") is None
    assert cost.energy_kwh is None


def test_sessions_of_a_resumed_run_add_up(
    config: ResolvedConfiguration, dataset: Dataset, path: Path
) -> None:
    train(config, dataset, stop_after=1)
    first = load_cost(path)
    train(config, dataset, resume=True)
    cost = load_cost(path)
    assert cost.sessions[:1] == first.sessions
    assert [one.epochs_done for one in cost.sessions] == [1, 2]
    assert cost.hours > first.hours


def test_a_run_that_begins_anew_does_not_count_the_former(
    config: ResolvedConfiguration, dataset: Dataset, path: Path
) -> None:
    train(config, dataset, stop_after=0)
    (path.parent / "checkpoint_latest.pth").unlink()
    train(config, dataset)
    assert len(load_cost(path).sessions) == 1


def test_a_damaged_record_stops_no_training(
    config: ResolvedConfiguration, dataset: Dataset, path: Path
) -> None:
    train(config, dataset, stop_after=1)
    path.write_text("{")
    train(config, dataset, resume=True)
    assert [one.epochs_done for one in load_cost(path).sessions] == [2]


def test_a_record_that_cannot_be_written_is_a_note(
    config: ResolvedConfiguration,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(meter, "save_cost", full)
    events = train(config, dataset)
    assert any("was not recorded" in (event.note or "") for event in events)
    assert sum(event.finished is not None for event in events) == SHORT.epochs


def pretend_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(uuid="aa")
    functions: dict[str, Callable[..., object]] = {
        "get_device_properties": lambda _: properties,
        "get_device_name": lambda _: "Pretended GPU",
        "reset_peak_memory_stats": lambda _: None,
        "max_memory_allocated": lambda _: 3,
        "max_memory_reserved": lambda _: 4,
        "mem_get_info": lambda _: (90, 100),
    }
    for name, function in functions.items():
        monkeypatch.setattr(torch.cuda, name, function)


def test_on_a_gpu_memory_and_energy_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia_smi: Callable[..., None]
) -> None:
    pretend_cuda(monkeypatch)
    nvidia_smi(GPU, f"GPU-aa, {os.getpid()}, 5, python")
    energy = iter([100.0, 160.0, 190.0])
    monkeypatch.setattr(meter, "energy_of", lambda uuid: {"GPU-aa": energy}[uuid].__next__())
    folder = RunFolder(tmp_path, 0)
    folder.path.mkdir()
    counter = Meter(folder, Ranks(0, 1, torch.device("cuda", 0)), epochs_done=0, resumed=False)
    counter.record(epochs_done=1, is_end=False)
    counter.record(epochs_done=2, is_end=True)
    cost: RunCost = load_cost(folder.path / COST_JSON)
    [session] = cost.sessions
    assert session.device_name == "Pretended GPU"
    assert (session.allocated_bytes, session.reserved_bytes) == (3, 4)
    assert (session.process_bytes, session.card_bytes) == (5 * 2**20, 10)
    assert session.energy_joules == 90
