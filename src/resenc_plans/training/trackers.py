"""Trackers: where the figures of a training can be watched, beside the files in its folder.

TensorBoard writes files, on a disk that may be full. Weights & Biases and MLflow may talk to a
server, which may be slow or dead. Each works in a thread of its own, and what it raises is logged
and no more.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol

from resenc_plans.errors import FileError, ModelError, TrainingError
from resenc_plans.files import read_json, write_json
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.download import shown_url

logger = logging.getLogger(__name__)

TRACKING_JSON = "tracking.json"
"""The file in a fold's folder with the identifiers that a resumed run continues under."""
SECONDS_TO_END = 30.0
"""How long the end of a training waits for a server to take the last figures, and W&B for one to
take the run."""

WANDB_ENABLED, WANDB_PROJECT = "nnUNet_wandb_enabled", "nnUNet_wandb_project"
WANDB_MODE = "nnUNet_wandb_mode"
MLFLOW_ENABLED, MLFLOW_EXPERIMENT = "nnUNet_mlflow_enabled", "nnUNet_mlflow_experiment"
MLFLOW_URI = "nnUNet_mlflow_tracking_uri"

_SWITCHES = {"0": False, "false": False, "False": False, "1": True, "true": True, "True": True}
_PROJECT = "nnunet"
_USER = re.compile(r"://[^\s/]*@")
_IDENTIFIERS = Lock()
"""Held while `TRACKING_JSON` is changed, which each tracker does in its thread."""


class Tracker(Protocol):
    """Takes the figures of each epoch to where they are watched."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the figures of an epoch, counted from 0, by name."""
        ...

    def summarize(self, values: Mapping[str, float]) -> None:
        """Take figures of the whole run, by name."""
        ...

    def close(self) -> None:
        """Pass on what is left: the training ends, or stops."""
        ...


class InBackground:
    """A tracker that works in a thread; whatever it raises, or does not do, the training goes on.

    Parameters
    ----------
    name
        What it is called in the log.
    make
        Makes the tracker, in the thread.
    patience
        Seconds that `close` waits for it.
    """

    def __init__(
        self, name: str, make: Callable[[], Tracker], *, patience: float = SECONDS_TO_END
    ) -> None:
        self.name, self._make, self._patience = name, make, patience
        self._entries: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self._is_dead = self._is_left = False
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Hand the figures over; nothing is waited for."""
        self._put(methodcaller("log", epoch, dict(values)))

    def summarize(self, values: Mapping[str, float]) -> None:
        """Hand the figures over; nothing is waited for."""
        self._put(methodcaller("summarize", dict(values)))

    def _put(self, entry: Callable[[Tracker], None]) -> None:
        if not self._is_dead:
            self._entries.put(entry)

    def close(self) -> None:
        """Wait a while for the tracker to pass on what is left."""
        self._entries.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._is_left = True
            logger.warning(
                "%s has not taken all figures within %g s and is left. The fold's folder has them.",
                self.name,
                self._patience,
            )

    def _work(self) -> None:
        try:
            tracker = self._make()
            while (entry := self._entries.get()) is not None:
                entry(tracker)
            tracker.close()
        except BaseException as error:  # a library that exits would end the thread silently
            self._is_dead = True
            logger.debug("%s failed.", self.name, exc_info=error)
            if self._is_left:
                return
            logger.warning(
                "%s gets no more figures: %s. The run goes on; the fold's folder has them.",
                self.name,
                _shown(str(error).strip().partition("\n")[0].rstrip(".")) or type(error).__name__,
            )


def chosen_trackers(settings: TrainingSettings) -> tuple[str, ...]:
    """The trackers that the settings name, or, where they leave it open, nnU-Net's variables.

    Raises
    ------
    TrainingError
        A variable is neither 0 nor 1, or the package of a tracker is not installed.
    """
    wandb, mlflow = settings.wandb, settings.mlflow
    chosen = {
        "tensorboard": settings.tensorboard,
        "wandb": _switched(WANDB_ENABLED) if wandb is None else wandb,
        "mlflow": _switched(MLFLOW_ENABLED) if mlflow is None else mlflow,
    }
    names = tuple(name for name, is_on in chosen.items() if is_on)
    for name in names:
        _TRACKERS[name].require()
    return names


def open_trackers(
    names: tuple[str, ...], folder: Path, title: str, facts: Mapping[str, Any]
) -> tuple[Tracker, ...]:
    """The trackers of these names, for the run in a fold's folder.

    Parameters
    ----------
    names
        As `chosen_trackers` gives them.
    folder
        The folder, which exists; what is written locally goes there.
    title
        What the run is called.
    facts
        What it trains and how, for servers that keep this.
    """
    kinds = [_TRACKERS[name] for name in names]
    return tuple(InBackground(kind.title, partial(kind, folder, title, facts)) for kind in kinds)


def _switched(variable: str) -> bool:
    """Whether one of nnU-Net's variables switches something on."""
    value = os.environ.get(variable, "0")
    if value not in _SWITCHES:
        raise TrainingError(f"The variable {variable} is {value!r}: 0 or 1 is needed.")
    return _SWITCHES[value]


def _required(module: str, title: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise TrainingError(
            f"Writing for {title} needs the extra {extra}: pip install 'resenc-plans[{extra}]'."
        ) from None


class TensorBoard:
    """Writes event files into the fold's folder."""

    title = "TensorBoard"

    def __init__(self, folder: Path, title: str, facts: Mapping[str, Any]) -> None:
        del title, facts  # the folder says both
        self._writer = self.require().SummaryWriter(str(folder))

    @classmethod
    def require(cls) -> Any:
        """The module that writes; a TrainingError if it is not installed."""
        return _required("torch.utils.tensorboard", cls.title, "tensorboard")

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the figures of an epoch."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, epoch)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Write figures of the whole run."""
        self.log(0, values)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """Logs to the project that nnU-Net's variables name, locally with the mode offline.

    W&B must not ask for a key: a thread that waits for an answer when the process ends aborts it.
    """

    title = "Weights & Biases"

    def __init__(self, folder: Path, title: str, facts: Mapping[str, Any]) -> None:
        identifier = (
            _identifiers(folder).get("wandb") or _begun_by_nnunet(folder) or uuid.uuid4().hex[:16]
        )
        _remember(folder, "wandb", identifier)
        wandb, mode = self.require(), os.environ.get(WANDB_MODE, "online")
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise TrainingError(
                f"no key is known. Run `wandb login`, or set the variable {WANDB_MODE} to offline"
            )
        self._run = wandb.init(
            project=os.environ.get(WANDB_PROJECT, _PROJECT),
            mode=mode,
            name=title,
            id=identifier,
            resume="allow",
            dir=str(folder),
            config=dict(facts),
            settings=wandb.Settings(init_timeout=SECONDS_TO_END),
        )
        logger.info("Weights & Biases: %s", self._run.url)

    @classmethod
    def require(cls) -> Any:
        """The package; a TrainingError if it is not installed."""
        return _required("wandb", cls.title, "wandb")

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the figures of an epoch as one step."""
        self._run.log(dict(values), step=epoch)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Add figures to the summary of the run."""
        self._run.summary.update(dict(values))

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflow:
    """Logs to the experiment that nnU-Net's variables name."""

    title = "MLflow"

    def __init__(self, folder: Path, title: str, facts: Mapping[str, Any]) -> None:
        self._mlflow = self.require()
        uri = os.environ.get(MLFLOW_URI)
        self._client = client = self._mlflow.MlflowClient(tracking_uri=uri)
        run = _identifiers(folder).get("mlflow")
        if run is None:
            name = os.environ.get(MLFLOW_EXPERIMENT, _PROJECT)
            known = client.get_experiment_by_name(name)
            experiment = client.create_experiment(name) if known is None else known.experiment_id
            run = client.create_run(experiment, run_name=title).info.run_id
            _remember(folder, "mlflow", run)
            for key, value in _flat(facts):
                client.log_param(run, key, value)
        self._run = run

    @classmethod
    def require(cls) -> Any:
        """The package; a TrainingError if it is not installed."""
        return _required("mlflow", cls.title, "mlflow")

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the figures of an epoch as one step."""
        now = int(time.time() * 1000)
        metric = self._mlflow.entities.Metric
        metrics = [metric(_plain(key), value, now, epoch) for key, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Log figures of the whole run."""
        self.log(0, values)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


_TRACKERS: Mapping[str, Any] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def _identifiers(folder: Path) -> dict[str, Any]:
    """Those of an earlier part of the run; none where the file is missing or damaged."""
    try:
        document = read_json(folder / TRACKING_JSON)
    except FileError:
        return {}
    return document if isinstance(document, dict) else {}


def _begun_by_nnunet(folder: Path) -> str | None:
    """The identifier of a run in W&B's own files, under which nnU-Net has begun it."""
    for path in folder.glob("wandb/latest-run/run-*.wandb"):
        return path.stem.removeprefix("run-")
    return None


def _remember(folder: Path, key: str, value: str) -> None:
    """Keep an identifier beside those that other trackers have kept meanwhile."""
    with _IDENTIFIERS:
        write_json(folder / TRACKING_JSON, _identifiers(folder) | {key: value})


def _shown(text: str) -> str:
    """What a tracker says, without the users and passwords of the addresses that it names."""
    uri = os.environ.get(MLFLOW_URI, "")
    if "@" in uri or "?" in uri:
        try:
            text = text.replace(uri, shown_url(uri))
        except ModelError:
            text = text.replace(uri, MLFLOW_URI)
    return _USER.sub("://", text)


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _plain(key: str) -> str:
    """A name that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in key)
