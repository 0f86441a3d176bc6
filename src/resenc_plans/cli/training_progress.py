"""What a person sees of a training: a bar on a terminal, one line per epoch everywhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resenc_plans.cli.progress import Pace
from resenc_plans.cli.render import console, note

if TYPE_CHECKING:
    from resenc_plans.training.history import Progress


@contextmanager
def shown_progress(epochs: int) -> "Iterator[Callable[[Progress], None]]":
    """Show what a trainer reports."""
    from resenc_plans.training.records import describe

    def line(event: "Progress", left: str = "") -> None:
        if event.finished is not None:
            text = describe(event.epoch, epochs, event.finished, event.waited)
            sys.stdout.write(f"{text}{left}\n")
            sys.stdout.flush()

    def show_lines(event: "Progress") -> None:
        if event.note is not None:
            note(event.note)
        line(event)

    if not sys.stdout.isatty():
        yield show_lines
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )
    from rich.table import Column

    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
        console=console(),
        transient=True,
    ) as bar:
        task = bar.add_task("epoch 1", figures="", total=None)
        pace = Pace()

        def show(event: "Progress") -> None:
            if event.note is not None:
                bar.console.print(event.note, style="yellow", markup=False)
                return
            if event.is_training and event.finished is None:
                done = event.epoch * event.iterations + event.iteration
                pace.observe(done, epochs * event.iterations, time.monotonic())
            left = pace.left_text()
            line(event, f", {left}" if left and event.finished is not None else "")
            name = "epoch" if event.is_training else "validation"
            figures = f"loss {event.loss:.3f}, rate {event.learning_rate:.5f}"
            bar.update(
                task,
                description=f"{name} {event.epoch + 1}/{epochs}",
                completed=event.iteration,
                total=event.iterations,
                figures=", ".join(filter(None, [left, pace.rate_text(), figures])),
            )

        yield show
