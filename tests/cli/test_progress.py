import io
import re
import sys

import pytest
from rich.cells import cell_len

from resenc_plans.cli.progress import Pace, case_progress, end_of, prediction_progress
from resenc_plans.inference.folder import PredictionProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(
    "name", ["case 17", "ward" * 50 + " 17", "患者 山田 太郎 脳の検査" * 3 + " 17"]
)
def test_bars_fit_the_terminal_and_show_the_end_of_names(
    monkeypatch: pytest.MonkeyPatch, columns: int, name: str
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with prediction_progress() as show:
        for done in range(1, 31):
            show(PredictionProgress(name, 99, 120, done, 30))
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", terminal.getvalue()))
    assert max(map(cell_len, lines)) <= columns
    [shown] = [line for line in lines if "30/30 tiles" in line]
    assert "17 " in shown
    assert "/s" in shown
    [whole] = [line for line in lines if "99/120 cases" in line][-1:]
    assert re.search(r"\d:\d\d:\d\d left$", whole.rstrip())


def test_nothing_is_drawn_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with prediction_progress() as show:
        show(PredictionProgress("case", 1, 2, 1, 1))
    assert stream.getvalue() == ""


def test_a_name_that_fits_is_whole() -> None:
    assert end_of("case", 4) == "case"
    assert end_of("a case", 4) == "…ase"


def test_the_rate_is_that_of_finished_work_and_begins_anew_with_the_work() -> None:
    pace = Pace()
    pace.observe(0, 9, 10.0)
    assert pace.text("cases") == "0/9 cases"
    pace.observe(0, 9, 15.0)
    pace.observe(3, 9, 20.0)
    pace.observe(3, 9, 90.0)
    assert pace.text("cases") == "3/9 cases 18/min 0:00:20 left"
    pace.observe(0, 9, 100.0)
    assert pace.text("cases") == "0/9 cases"
    pace.observe(8, 9, 102.0)
    assert pace.rate == 4


def test_every_case_moves_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with case_progress("Reading", 2) as show:
        show("one")
        show("two")
    assert "Reading" in terminal.getvalue()
    assert "2/2 cases" in terminal.getvalue()


def test_a_label_with_brackets_is_no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with case_progress("Checking 3d[/small]", 1) as on_case:
        on_case("a")
    assert "Checking 3d[/small]" in terminal.getvalue()
