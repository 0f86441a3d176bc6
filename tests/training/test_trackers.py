"""Trackers; without its package one is tested with a stand-in, and the real one is skipped."""

import json
import os
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import TrainingError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.training.trackers import (
    MLFLOW_ENABLED,
    MLFLOW_EXPERIMENT,
    MLFLOW_URI,
    SECONDS_TO_END,
    TRACKING_JSON,
    WANDB_ENABLED,
    WANDB_MODE,
    WANDB_PROJECT,
    InBackground,
    Tracker,
    chosen_trackers,
    open_trackers,
)
from resenc_plans.training.trainer import Trainer

FACTS = {"fold": 0, "optimizer": {"name": "SGD"}}
FIGURES = {"training_loss": 0.5, "dice/a&b": 0.25}
SCORES = {"final_val/class_(1, 2)_dice": 0.75}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (WANDB_ENABLED, WANDB_PROJECT, WANDB_MODE):
        monkeypatch.delenv(name, raising=False)
    for name in (MLFLOW_ENABLED, MLFLOW_EXPERIMENT, MLFLOW_URI):
        monkeypatch.delenv(name, raising=False)


def logged(names: tuple[str, ...], folder: Path) -> None:
    for tracker in open_trackers(names, folder, "a title", FACTS):
        for epoch in range(2):
            tracker.log(epoch, FIGURES)
        tracker.summarize(SCORES)
        tracker.close()


def test_settings_go_before_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", MagicMock())
    assert chosen_trackers(TrainingSettings()) == ()
    monkeypatch.setenv(WANDB_ENABLED, "True")
    assert chosen_trackers(TrainingSettings()) == ("wandb",)
    assert chosen_trackers(TrainingSettings(wandb=False)) == ()
    monkeypatch.setenv(MLFLOW_ENABLED, "yes")
    with pytest.raises(TrainingError, match=f"{MLFLOW_ENABLED} is 'yes': 0 or 1"):
        chosen_trackers(TrainingSettings())


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    settings = TrainingSettings.model_validate({name: True})
    with pytest.raises(TrainingError, match=rf"resenc-plans\[{name}\]"):
        chosen_trackers(settings)


class Dead:
    """A tracker whose server does not answer."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        raise ConnectionError(f"no route to host for {len(values)} figures of epoch {epoch}")

    def summarize(self, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class DiesAtTheEnd(Dead):
    """A tracker whose server is gone when the training ends."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        raise ConnectionError("the server has gone")


class Exits(DiesAtTheEnd):
    """A tracker whose library ends its process."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        sys.exit(f"cannot log {len(values)} figures of epoch {epoch}")


def test_a_dead_server_is_logged_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> Tracker:
        raise OSError("refused")

    for make, reason in (
        (Dead, "no route to host for 2 figures of epoch 0"),
        (DiesAtTheEnd, "the server has gone"),
        (Exits, "cannot log 2 figures of epoch 0"),
        (refused, "refused"),
    ):
        caplog.clear()
        tracker = InBackground("the tracker", make)
        tracker.log(0, FIGURES)
        tracker.close()
        tracker.log(1, FIGURES)
        [record] = caplog.records
        assert record.message == (
            f"the tracker gets no more figures: {reason}. The run goes on; the fold's folder has "
            "them."
        )


def test_a_password_in_the_address_of_a_server_is_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("WARNING")
    monkeypatch.setenv(MLFLOW_URI, "https://me:secret@localhost/a?token=secret")
    for address in (f"{MLFLOW_URI} is {os.environ[MLFLOW_URI]}", "postgresql://me:secret@host/a"):

        def refused(address: str = address) -> Tracker:
            raise OSError(f"refused by {address}")

        InBackground("the tracker", refused).close()
    assert "secret" not in caplog.text
    assert "https://localhost/a" in caplog.text


def test_trackers_that_begin_at_once_keep_the_identifiers_of_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mlflow, wandb, begun, read = MagicMock(), MagicMock(), Event(), Event()

    def create_run(*_: Any, **__: Any) -> Any:
        read.set()
        begun.wait(20)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def init(**_: Any) -> Any:
        begun.set()
        return MagicMock()

    mlflow.MlflowClient.return_value.create_run = create_run
    wandb.init = init
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (first,) = open_trackers(("mlflow",), tmp_path, "a title", FACTS)
    assert read.wait(20)
    (second,) = open_trackers(("wandb",), tmp_path, "a title", FACTS)
    first.close()
    second.close()
    assert json.loads((tmp_path / TRACKING_JSON).read_text()).keys() == {"mlflow", "wandb"}


class Hanging(DiesAtTheEnd):
    """A tracker of which one part hangs until a test is over, and then fails."""

    def __init__(self, part: str, answered: Event) -> None:
        self._hangs, self._answered = part, answered
        self._wait("make")

    def _wait(self, part: str) -> None:
        if part == self._hangs:
            self._answered.wait(60)
            raise TimeoutError

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        del epoch, values
        self._wait("log")

    def close(self) -> None:
        self._wait("close")


@pytest.mark.parametrize("part", ["make", "log", "close"])
def test_a_server_that_hangs_is_left_which_is_said_once(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    answered = Event()
    tracker = InBackground("a server", partial(Hanging, part, answered), patience=0.05)
    tracker.log(0, FIGURES)
    tracker.close()
    assert not answered.is_set()
    answered.set()
    for thread in threading.enumerate():
        if thread.name == "a server":
            thread.join(60)
    [record] = caplog.records
    assert "a server has not taken all figures within 0.05 s and is left" in record.message


def test_wandb_gets_what_nnunets_variables_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv(WANDB_PROJECT, "livers")
    monkeypatch.setenv(WANDB_MODE, "offline")
    logged(("wandb",), tmp_path)
    logged(("wandb",), tmp_path)
    first, second = (call.kwargs for call in wandb.init.call_args_list)
    assert (first["project"], first["mode"], first["name"]) == ("livers", "offline", "a title")
    assert (first["dir"], first["config"]) == (str(tmp_path), FACTS)
    assert first["id"] == second["id"], "a run that resumes continues"
    wandb.login.assert_not_called()
    wandb.Settings.assert_called_with(init_timeout=SECONDS_TO_END)
    run = wandb.init.return_value
    assert [call.kwargs["step"] for call in run.log.call_args_list] == [0, 1, 0, 1]
    run.summary.update.assert_called_with(SCORES)
    assert run.finish.call_count == 2


def test_wandb_without_a_key_does_not_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb = MagicMock()
    wandb.login.return_value = False
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logged(("wandb",), tmp_path)
    wandb.login.assert_called_once_with(prompt=False, verify=False)
    wandb.init.assert_not_called()
    assert f"no key is known. Run `wandb login`, or set the variable {WANDB_MODE}" in caplog.text


def test_wandb_continues_what_nnunet_has_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tmp_path / "wandb/latest-run").mkdir(parents=True)
    (tmp_path / "wandb/latest-run/run-k3x9.wandb").touch()
    logged(("wandb",), tmp_path)
    assert wandb.init.call_args.kwargs["id"] == "k3x9"


def test_mlflow_gets_figures_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mlflow = MagicMock()
    mlflow.entities.Metric = lambda *values: SimpleNamespace(key=values[0], step=values[3])
    client = mlflow.MlflowClient.return_value
    client.create_run.return_value.info.run_id = "r1"
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setenv(MLFLOW_EXPERIMENT, "livers")
    monkeypatch.setenv(MLFLOW_URI, "somewhere")
    logged(("mlflow",), tmp_path)
    logged(("mlflow",), tmp_path)
    mlflow.MlflowClient.assert_called_with(tracking_uri="somewhere")
    client.get_experiment_by_name.assert_called_once_with("livers")
    client.create_run.assert_called_once()
    client.log_param.assert_any_call("r1", "optimizer.name", "SGD")
    batches = [call.kwargs["metrics"] for call in client.log_batch.call_args_list[-2:]]
    assert [[(metric.key, metric.step) for metric in metrics] for metrics in batches] == [
        [("training_loss", 1), ("dice/a_b", 1)],
        [("final_val/class__1_ 2__dice", 0)],
    ]


def test_tensorboard_on_a_full_disk_is_logged_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = MagicMock()
    writer = module.SummaryWriter.return_value
    writer.add_scalar.side_effect = writer.close.side_effect = OSError("the disk is full")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    logged(("tensorboard",), tmp_path)
    [record] = caplog.records
    assert "TensorBoard gets no more figures: the disk is full. The run goes on" in record.message


def test_tensorboard_writes_a_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    logged(("tensorboard",), tmp_path)
    [events] = tmp_path.glob("events.out.tfevents.*")
    assert b"training_loss" in events.read_bytes()
    assert b"final_val/class_(1, 2)_dice" in events.read_bytes()


@pytest.mark.slow
def test_wandb_writes_a_folder_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv(WANDB_MODE, "offline")
    logged(("wandb",), tmp_path)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own packages
def test_mlflow_writes_a_database_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv(MLFLOW_URI, uri)
    logged(("mlflow",), tmp_path)
    client: Any = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nnunet")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["training_loss"] == 0.5
    assert run.data.metrics["final_val/class__1_ 2__dice"] == 0.75


@pytest.mark.slow
def test_a_training_ends_as_ever_without_its_server(
    config: ResolvedConfiguration, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = MagicMock()
    wandb.init.side_effect = ConnectionError("no route to host")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    settings = TrainingSettings(
        epochs=2, iterations=1, validation_iterations=1, workers=0, wandb=True
    )
    result = Trainer(config, dataset, 0, settings).fit()
    assert result.is_complete
    wandb.init.assert_called_once()
