import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resenc_plans.cli.render import note, print_table, say


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_cuts_no_number(here: Path) -> None:
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.Popen(
        [sys.executable, "-m", "resenc_plans", "show"], stdout=terminal, cwd=here, env=environment
    )
    os.close(terminal)
    done.wait()
    output = os.read(controller, 65536).decode()
    os.close(controller)
    assert "32x64x64" in output
    assert "ResidualEncoderUNet" in output


def test_a_title_outside_a_terminal_is_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["name", "size"], [["a", 1]], title="Sizes")
    assert capsys.readouterr().out == "# Sizes\nname\tsize\na\t1\n"


def test_notes_stand_where_they_were_said_in_a_log() -> None:
    code = (
        "from resenc_plans.cli.render import note, print_table\n"
        "print_table(['first'], [])\nnote('second')\nprint_table(['third'], [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
    )
    assert done.stdout.split() == ["first", "second", "third"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_shows_brackets_and_wraps_names_before_it_is_too_narrow() -> None:
    import pty

    controller, terminal = pty.openpty()
    code = (
        "from resenc_plans.cli.render import print_table\n"
        "name = 'a_method_with_quite_a_long_name - another_method_of_a_name'\n"
        "print_table(['pair', 'HD95 [mm]'], [[name, '0.0012 to 0.0034']], 'HD95 [mm], differences',"
        " fixed=2, names=1)"
    )
    environment = {**os.environ, "COLUMNS": "50", "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.Popen([sys.executable, "-c", code], stdout=terminal, env=environment)
    os.close(terminal)
    done.wait()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", os.read(controller, 65536).decode()).splitlines()
    os.close(controller)
    assert "HD95 [mm], differences" in lines[0]
    assert any(line.split() == ["pair", "HD95", "[mm]"] for line in lines)
    assert any("0.0012 to 0.0034" in line for line in lines)
    assert max(map(len, lines)) <= 50


def test_names_between_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    say("Wrote scans:100:x.json.")
    note("Lost [red]scans:100:x.json.")
    done = capsys.readouterr()
    assert done.out == "Wrote scans:100:x.json.\n"
    assert done.err == "Lost [red]scans:100:x.json.\n"
