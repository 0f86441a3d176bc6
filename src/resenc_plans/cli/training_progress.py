"""What a person sees of a training: a bar on a terminal, one line per epoch everywhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resenc_plans.cli.render import console, note

if TYPE_CHECKING:
    from resenc_plans.training.progress import Progress


@contextmanager
def shown_progress(epochs: int) -> "Iterator[Callable[[Progress], None]]":
    """Show what a trainer reports."""
    from resenc_plans.training.records import describe

    def line(event: "Progress", left: str) -> None:
        if event.note:
            note(event.note)
        if event.finished is not None:
            text = describe(event.epoch, epochs, event.finished, event.waited)
            sys.stdout.write(f"{text}{left}\n")
            sys.stdout.flush()

    if not sys.stdout.isatty():
        yield lambda event: line(event, "")
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        console=console(),
        transient=True,
    ) as bar:
        task = bar.add_task("epoch 1", loss=float("nan"), total=None)

        def show(event: "Progress") -> None:
            line(event, _left(event, epochs))
            bar.update(
                task,
                description=f"epoch {event.epoch + 1}/{epochs}",
                completed=event.iteration,
                total=event.iterations,
                loss=event.loss,
            )

        yield show


def _left(event: "Progress", epochs: int) -> str:
    if event.finished is None:
        return ""
    seconds = event.finished.seconds * (epochs - event.epoch - 1)
    hours, minutes = divmod(round(seconds / 60), 60)
    return f", {hours} h {minutes:02} min left"
