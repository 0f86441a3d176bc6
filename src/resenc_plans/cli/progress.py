"""Progress on a terminal: how much is done, at what rate, and how much time is left.

In a pipe nothing is shown.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resenc_plans.cli.render import console

if TYPE_CHECKING:
    from resenc_plans.inference.folder import PredictionProgress

MIN_NAME_WIDTH = 12
NAMES_PER_WIDTH = 4
"""Names get a quarter of the terminal whatever their length, so that the bars keep their place."""


class Pace:
    """The mean rate of some work since it was first observed, and the time that is left.

    >>> pace = Pace()
    >>> pace.observe(0, 8, 0.0)
    >>> pace.observe(2, 8, 60.0)
    >>> pace.text("cases")
    '2/8 cases 2/min 0:03:00 left'
    """

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = 0.0, 0
        self._total = 0

    def observe(self, done: int, total: int, now: float) -> None:
        """Note that `done` of `total` units are done at `now`, in seconds of any clock.

        Work that begins anew is measured anew.
        """
        self._total = total
        if self._first is None or done < self._first[1] or self._first[1] == done < self._last[1]:
            self._first = self._last = now, done
        elif done > self._last[1]:
            self._last = now, done

    @property
    def rate(self) -> float | None:
        """Units per second, when the last one was done; None before the second observation."""
        if self._first is None or self._last[1] == self._first[1]:
            return None
        seconds = self._last[0] - self._first[0]
        return (self._last[1] - self._first[1]) / seconds if seconds > 0 else None

    def rate_text(self) -> str:
        """The rate, such as `2.5/s`, `2/min` or `12/h`; empty where it is not known."""
        rate = self.rate
        if rate is None:
            return ""
        per, unit = (1, "s") if rate >= 1 else (60, "min") if 60 * rate >= 1 else (3600, "h")
        return f"{per * rate:.3g}/{unit}" if per * rate < 100 else f"{per * rate:.0f}/{unit}"

    def left_text(self) -> str:
        """The time until all is done, such as `0:03:00 left`; empty where it is not known."""
        rate = self.rate
        if rate is None:
            return ""
        seconds = round((self._total - self._last[1]) / rate)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def text(self, unit: str) -> str:
        """Units that are done, the rate, and the time that is left."""
        parts = f"{self._last[1]}/{self._total} {unit}", self.rate_text(), self.left_text()
        return " ".join(filter(None, parts))


@contextmanager
def case_progress(label: str, total: int) -> "Iterator[Callable[[str], None]]":
    """A progress bar on stderr; call what it yields with the name of each finished case."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True)),
        console=console(error=True),
        transient=True,
    ) as bar:
        pace = Pace()
        pace.observe(0, total, bar.get_time())
        task = bar.add_task(label, total=total, pace=pace.text("cases"))

        def show(case: str) -> None:
            del case
            done = int(bar.tasks[task].completed) + 1
            pace.observe(done, total, bar.get_time())
            bar.update(task, completed=done, pace=pace.text("cases"))

        yield show


@contextmanager
def prediction_progress() -> "Iterator[Callable[[PredictionProgress], None]]":
    """Two progress bars on stderr: one for the cases, one for the tiles of the current case."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    screen = console(error=True)
    width = max(MIN_NAME_WIDTH, screen.width // NAMES_PER_WIDTH)
    with Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(width=width)),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True)),
        console=screen,
        transient=True,
        expand=True,
    ) as bars:
        all_cases = bars.add_task("Predicting", total=None, pace="")
        one_case = bars.add_task("", total=None, pace="", visible=False)
        case_pace, tile_pace, case = Pace(), Pace(), ""
        case_pace.observe(0, 0, bars.get_time())

        def show(event: "PredictionProgress") -> None:
            nonlocal tile_pace, case
            now = bars.get_time()
            case_pace.observe(event.cases_done, event.cases, now)
            bars.update(
                all_cases,
                completed=event.cases_done,
                total=event.cases,
                pace=case_pace.text("cases"),
            )
            if not event.tiles:
                return
            if event.case != case:
                tile_pace, case = Pace(), event.case
            tile_pace.observe(event.tiles_done, event.tiles, now)
            bars.update(
                one_case,
                description=end_of(case, width),
                completed=event.tiles_done,
                total=event.tiles,
                pace=tile_pace.text("tiles"),
                visible=True,
            )

        yield show


def end_of(name: str, width: int) -> str:
    """The end of a name, where names differ, in at most so many cells of a terminal.

    >>> end_of("the far hospital, case 17", 12)
    '…al, case 17'
    """
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    end = name
    while cell_len(end) >= width:
        end = end[1:]
    return f"…{end}"
