"""What a training leaves for people to read: log, metrics, picture, trackers."""

import math
import time
from collections.abc import Mapping
from typing import Any, Self

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.runs.run_folder import PROGRESS_PNG, RunFolder
from resenc_plans.training.checkpointing import RunIdentity
from resenc_plans.training.history import Epoch
from resenc_plans.training.trackers import Tracker, chosen_trackers, open_trackers
from resenc_plans.visualization.training_curves import draw_progress

SECONDS_BETWEEN_PICTURES = 60

_TRACKED = ("training_loss", "validation_loss", "learning_rate", "smoothed_dice")


def describe(number: int, epochs: int, epoch: Epoch, waited: float) -> str:
    """One line about an epoch, counted from 0."""
    per_class = " ".join(f"{dice:.3f}" for dice in epoch.dice)
    return (
        f"epoch {number + 1}/{epochs}: loss {epoch.training_loss:.4f}, "
        f"validation {epoch.validation_loss:.4f}, pseudo Dice {epoch.mean_dice:.3f} ({per_class}), "
        f"smoothed {epoch.smoothed_dice:.3f}, rate {epoch.learning_rate:.5f}, "
        f"{epoch.seconds:.1f} s, {waited:.0%} waiting for data"
    )


class Records:
    """Writes after each epoch; a picture now and then."""

    def __init__(
        self,
        folder: RunFolder,
        title: str,
        epochs: int,
        classes: tuple[str, ...],
        trackers: tuple[Tracker, ...] = (),
    ) -> None:
        self.folder, self.title, self.total, self.classes = folder, title, epochs, classes
        self._drawn = -math.inf
        self._trackers = trackers

    @classmethod
    def open(
        cls, folder: RunFolder, run: RunIdentity, facts: Mapping[str, Any], *, epochs_done: int
    ) -> Self:
        """Prepare a run's folder, with debug.json and the records of the epochs that are done.

        `facts` go into debug.json, after what the run is.

        Raises
        ------
        FileError
            The folder cannot be written to.
        """
        config, dataset = run.config, run.dataset
        names = {
            "configuration": config.name,
            "plans": config.plans.name,
            "dataset": dataset.name,
            "fold": run.fold,
        }
        folder.prepare(config, dataset)
        folder.write_debug({**names, **facts})
        folder.keep_records(epochs_done)
        title = f"{dataset.name}, {config.plans.name}, {config.name}, {run.fold}"
        settings = run.settings
        return cls(
            folder,
            title,
            settings.epochs,
            _class_names(dataset),
            open_trackers(
                chosen_trackers(settings), folder.path, title, {**names, **settings.model_dump()}
            ),
        )

    def add(self, epochs: tuple[Epoch, ...], waited: float) -> None:
        """Write the last of the epochs."""
        number, epoch = len(epochs) - 1, epochs[-1]
        self.folder.log(
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {describe(number, self.total, epoch, waited)}"
        )
        self.folder.record({"epoch": number, **vars(epoch), "waited": waited})
        values = {key: float(getattr(epoch, key)) for key in _TRACKED}
        values |= {
            f"dice/{name}": dice for name, dice in zip(self.classes, epoch.dice, strict=False)
        }
        for tracker in self._trackers:
            tracker.log(number, values)
        is_last = number + 1 == self.total
        if is_last or time.monotonic() - self._drawn >= SECONDS_BETWEEN_PICTURES:
            draw_progress(epochs, self.folder.path / PROGRESS_PNG, self.title, self.classes)
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Let the trackers pass on what is left."""
        for tracker in self._trackers:
            tracker.close()


def _class_names(dataset: Dataset) -> tuple[str, ...]:
    """The names that dataset.json gives to the foreground labels, or to the regions."""
    names = {value: name for name, value in dataset.json.labels.items()}
    foreground = dataset.labels.regions or dataset.labels.foreground_labels
    return tuple(names.get(value, str(value)) for value in foreground)
