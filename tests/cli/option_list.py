"""Every argument and option of every command, one line each.

`python -m tests.cli.option_list` writes them to `options.txt`, with which a test compares.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from resenc_plans.cli.app import app

OPTIONS = Path(__file__).with_name("options.txt")


def option_lines() -> Iterator[str]:
    """A command, one of its arguments or options, and what that is: `train --epochs: value`."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for name, command in named_commands(group, str(group.name)):
        for parameter in command.params:
            is_option = isinstance(parameter, TyperOption)
            names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name]
            kind = "flag" if isinstance(parameter, TyperOption) and parameter.is_flag else "value"
            several = ", repeatable" if parameter.multiple or parameter.nargs != 1 else ""
            required = ", required" if parameter.required else ""
            yield f"{name} {' '.join(map(str, names))}: {kind}{several}{required}"


def named_commands(group: TyperGroup, name: str) -> Iterator[tuple[str, Any]]:
    """A group, its commands, and those of the groups in it, such as `study run`."""
    yield name, group
    for key, command in group.commands.items():
        whole = key if name == "resenc-plans" else f"{name} {key}"
        if isinstance(command, TyperGroup):
            yield from named_commands(command, whole)
        else:
            yield whole, command


if __name__ == "__main__":
    OPTIONS.write_text("".join(f"{line}\n" for line in option_lines()), encoding="utf-8")
