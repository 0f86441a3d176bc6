"""What a training leaves for people to read: log, metrics, picture, trackers."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Self

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import ResencPlansError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.run_folder import PROGRESS_PNG, RunFolder
from resenc_plans.runs.run_record import RunRecord
from resenc_plans.training.checkpointing import RunIdentity
from resenc_plans.training.history import Epoch
from resenc_plans.training.trackers import Tracker, chosen_trackers, open_trackers
from resenc_plans.visualization.training_curves import draw_progress

logger = logging.getLogger(__name__)

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
        names = _names(config, dataset, run.fold)
        folder.prepare(config, dataset)
        folder.write_debug({**names, **facts})
        folder.keep_records(epochs_done)
        return cls(
            folder,
            _title(names),
            run.settings.epochs,
            _class_names(dataset),
            _trackers(folder, names, run.settings),
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


def track_scores(
    folder: RunFolder,
    config: ResolvedConfiguration,
    dataset: Dataset,
    scores: Mapping[str, float],
) -> None:
    """Tell the trackers of a trained fold, which its settings or variables choose, its scores.

    What hinders it is logged, since the scores are written already. A fold that nnU-Net trained
    has no record of its settings, and is left alone.
    """
    try:
        record = RunRecord.load(folder.path)
        if record is None:
            return
        settings = TrainingSettings.model_validate(record.settings)
        trackers = _trackers(folder, _names(config, dataset, folder.fold), settings)
    except ResencPlansError as error:
        logger.warning("The scores go to no tracker. %s", error)
        return
    for tracker in trackers:
        tracker.summarize(scores)
        tracker.close()


def _trackers(
    folder: RunFolder, names: Mapping[str, Any], settings: TrainingSettings
) -> tuple[Tracker, ...]:
    facts = {**names, **settings.model_dump()}
    return open_trackers(chosen_trackers(settings), folder.path, _title(names), facts)


def _names(config: ResolvedConfiguration, dataset: Dataset, fold: int | str) -> dict[str, Any]:
    """What is trained, for people."""
    return {
        "configuration": config.name,
        "plans": config.plans.name,
        "dataset": dataset.name,
        "fold": fold,
    }


def _title(names: Mapping[str, Any]) -> str:
    which = ", ".join(str(names[key]) for key in ("dataset", "plans", "configuration"))
    return f"{which}, fold {names['fold']}"


def _class_names(dataset: Dataset) -> tuple[str, ...]:
    """The names that dataset.json gives to the foreground labels, or to the regions."""
    names = {value: name for name, value in dataset.json.labels.items()}
    foreground = dataset.labels.regions or dataset.labels.foreground_labels
    return tuple(names.get(value, str(value)) for value in foreground)
