"""What predict shows on a terminal: a bar for the cases, one for the tiles of the case at hand."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from resenc_plans.cli.render import console

if TYPE_CHECKING:
    from resenc_plans.inference.folder import PredictionProgress

SHORTEST_NAME = 12
SHARE_OF_NAMES = 4
"""Names get a quarter of the terminal whatever their length, so that the bars keep their place."""


@contextmanager
def prediction_bars() -> "Iterator[Callable[[PredictionProgress], None]]":
    """Two progress bars on stderr with rates and the time left; nothing where stderr is a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    screen = console(error=True)
    width = max(SHORTEST_NAME, screen.width // SHARE_OF_NAMES)
    with Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(width=width)),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True)),
        console=screen,
        transient=True,
        expand=True,
    ) as bars:
        whole = bars.add_task("Predicting", total=None, pace="")
        one = bars.add_task("", total=None, pace="", visible=False)
        start = case_done = bars.get_time()
        begun, first, first_at = "", 0, start

        def show(event: "PredictionProgress") -> None:
            nonlocal case_done, begun, first, first_at
            now = bars.get_time()
            if event.cases_done > bars.tasks[whole].completed:
                case_done = now
            text = pace(event.cases_done, event.cases, "cases", event.cases_done, case_done - start)
            bars.update(whole, completed=event.cases_done, total=event.cases, pace=text)
            if not event.tiles:
                return
            if event.case != begun or event.tiles_done <= first:
                begun, first, first_at = event.case, event.tiles_done, now
            new = event.tiles_done - first
            bars.update(
                one,
                description=ending(event.case, width),
                completed=event.tiles_done,
                total=event.tiles,
                pace=pace(event.tiles_done, event.tiles, "tiles", new, now - first_at),
                visible=True,
            )

        yield show


def pace(done: int, total: int, unit: str, done_since: int, seconds: float) -> str:
    """How many are done, at what rate and for how much longer, as the last seconds went.

    >>> pace(2, 8, "cases", 2, 60.0)
    '2/8 cases 2/min 0:03:00'
    >>> pace(6, 8, "tiles", 5, 2.0)
    '6/8 tiles 2.5/s 0:00:01'
    >>> pace(1, 8, "tiles", 0, 0.0)
    '1/8 tiles'
    """
    text = f"{done}/{total} {unit}"
    if not done_since or seconds <= 0:
        return text
    rate = done_since / seconds
    left = timedelta(seconds=round((total - done) / rate))
    per, name = (1, "s") if rate >= 1 else (60, "min") if 60 * rate >= 1 else (3600, "h")
    number = f"{per * rate:.3g}" if per * rate < 100 else f"{per * rate:.0f}"
    return f"{text} {number}/{name} {left}"


def ending(name: str, width: int) -> str:
    """The end of a name, where names differ, in at most so many cells of a terminal.

    >>> ending("the far hospital, case 17", 12)
    '…al, case 17'
    """
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    kept = name
    while cell_len(kept) >= width:
        kept = kept[1:]
    return f"…{kept}"
