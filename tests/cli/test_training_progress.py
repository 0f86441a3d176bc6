import io
import re
import sys

import pytest
from rich.cells import cell_len

from resenc_plans.cli.training_progress import shown_progress
from resenc_plans.training.history import Epoch, Progress

FINISHED = Epoch(-0.5, -0.4, (0.5, 0.2), 0.3, 0.0099, 0, 10)
EVENTS = [
    *(Progress(0, number, 3, True, -0.1, 0.01) for number in (1, 2, 3)),
    *(Progress(0, number, 2, False, -0.2, 0.01) for number in (1, 2)),
    Progress(0, 3, 3, True, -0.5, 0.01, note="The disk is full."),
    Progress(0, 3, 3, True, -0.5, 0.01, finished=FINISHED),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_where_training_is_how_fast_it_goes_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with shown_progress(20) as show:
        for event in EVENTS:
            show(event)
    text = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", terminal.getvalue())
    lines = re.split(r"[\r\n]+", text)
    assert max(map(cell_len, lines)) <= columns
    assert "The disk is full." in [line.strip() for line in lines]
    assert "epoch 1/20: loss -0.5000" in text
    assert re.search(r"\d:\d\d:\d\d left", text)


def test_elsewhere_an_epoch_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with shown_progress(20) as show:
        for event in EVENTS:
            show(event)
    [line] = out.getvalue().splitlines()
    assert line.startswith("epoch 1/20: loss -0.5000, validation -0.4000, pseudo Dice 0.350")
    assert err.getvalue().strip() == "The disk is full."
