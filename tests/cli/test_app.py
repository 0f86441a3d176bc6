"""The command line as a whole."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.cli.option_list import OPTIONS, option_lines


def test_commands_take_the_options_that_are_listed() -> None:
    """An option is added, renamed or removed on purpose: `make options` writes the new list."""
    assert list(option_lines()) == OPTIONS.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "command",
    ["verify", "fingerprint", "demo", "create", "presets", "show", "resolve", "derive", "diff",
     "upgrade", "validate", "schema"],
)  # fmt: skip
def test_every_command_s_help_has_an_example(run: Callable[..., Done], command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"Example: resenc-plans {command}" in " ".join(done.out.split())


def test_version_and_module(run: Callable[..., Done]) -> None:
    from resenc_plans import __version__

    assert run("--version").out.strip() == f"resenc-plans {__version__}"
    done = subprocess.run(
        [sys.executable, "-m", "resenc_plans", "--version"], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"resenc-plans {__version__}"


def test_shell_completion_offers_commands() -> None:
    environment = {**os.environ, "_RESENC_PLANS_COMPLETE": "complete_bash",
                   "COMP_WORDS": "resenc-plans de", "COMP_CWORD": "1"}  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("resenc-plans")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert "derive" in done.stdout.split()
