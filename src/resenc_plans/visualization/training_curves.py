"""progress.png: losses, pseudo Dice, time per epoch and learning rate over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from resenc_plans.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_CLASSES = 8

_DASHES = ("-", "--", "-.", ":")
"""Curves that lie on each other show through."""


class EpochFigures(Protocol):
    """The figures of one epoch that are drawn; `dice` has one value per class."""

    @property
    def training_loss(self) -> float:
        """Mean over the training batches."""
        ...

    @property
    def validation_loss(self) -> float:
        """Mean over the validation batches."""
        ...

    @property
    def dice(self) -> tuple[float, ...]:
        """Pseudo Dice per class."""
        ...

    @property
    def mean_dice(self) -> float:
        """Mean over the classes."""
        ...

    @property
    def smoothed_dice(self) -> float:
        """Moving average of the mean."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of this epoch."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...


def draw_progress(
    epochs: Sequence[EpochFigures], path: Path, title: str, classes: Sequence[str]
) -> None:
    """Draw what has been trained so far; Dice per class where there are few.

    `classes` are their names.

    Raises
    ------
    FileError
        The picture cannot be written.
    """
    from matplotlib.figure import Figure

    numbers = range(1, len(epochs) + 1)
    figure = Figure(figsize=(9, 9), layout="constrained")
    loss, dice, rest = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.6))
    figure.suptitle(title, fontsize=11)
    loss.plot(numbers, [e.training_loss for e in epochs], color="#21618c", label="training")
    loss.plot(numbers, [e.validation_loss for e in epochs], color="#c0392b", label="validation")
    loss.set_ylabel("loss")
    if len(classes) <= _MAX_CLASSES:
        by_class = zip(*(epoch.dice for epoch in epochs), strict=True)
        for name, values in zip(classes, by_class, strict=False):
            dice.plot(numbers, values, linewidth=0.8, alpha=0.6, label=name)
    dice.plot(numbers, [e.mean_dice for e in epochs], color="#7f8c8d", label="mean")
    dice.plot(
        numbers, [e.smoothed_dice for e in epochs], color="#1e8449", linewidth=2, label="smoothed"
    )
    dice.set_ylabel("pseudo Dice")
    dice.set_ylim(0, 1)
    rest.plot(numbers, [e.seconds for e in epochs], color="#6c3483")
    rest.set_ylabel("seconds per epoch", color="#6c3483")
    rest.set_ylim(bottom=0)
    rate = rest.twinx()
    rate.plot(numbers, [e.learning_rate for e in epochs], color="#b7950b", linestyle="--")
    rate.set_ylabel("learning rate", color="#b7950b")
    rest.set_xlabel("epoch")
    rest.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss, dice):
        axes.legend(frameon=False, fontsize=8, loc="best")
    _tidy(loss, dice)
    with replace_file(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def draw_curves(runs: Mapping[str, Sequence[EpochFigures]], path: Path, title: str) -> None:
    """Draw the training loss and the smoothed pseudo Dice of several runs, by their names.

    Losses of different kinds do not compare; that each falls is what they show.

    Raises
    ------
    FileError
        The picture cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    loss, dice = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title, fontsize=11)
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for number, (name, epochs) in enumerate(runs.items()):
        numbers = range(1, len(epochs) + 1)
        style: dict[str, Any] = {
            "color": colours[number % len(colours)],
            "linestyle": _DASHES[number % len(_DASHES)],
        }
        loss.plot(numbers, [epoch.training_loss for epoch in epochs], label=name, **style)
        dice.plot(numbers, [epoch.smoothed_dice for epoch in epochs], **style)
    loss.set_ylabel("training loss")
    dice.set_ylabel("pseudo Dice, smoothed")
    dice.set_ylim(bottom=0)
    dice.set_xlabel("epoch")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    _tidy(loss, dice)
    with replace_file(path) as stream:
        figure.savefig(stream, format="png", dpi=110)


def _tidy(*parts: "Axes") -> None:
    for axes in parts:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
