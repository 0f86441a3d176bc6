"""What `--help` says of every command, argument and option."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from resenc_plans.cli.app import app
from tests.cli.conftest import Done
from tests.cli.option_list import named_commands

CHOICE = re.compile(r"[a-z0-9]+(-[a-z]+)*(\|[a-z0-9]+(-[a-z]+)*)+")
VALUE = re.compile(r"[A-Z][A-Z/,|=]*|ZxYxX|(NAME\|all|GB\|auto)")


def commands() -> list[tuple[str, Any]]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return list(named_commands(group, str(group.name)))


def parameters() -> Iterator[tuple[str, Any]]:
    for name, command in commands():
        for parameter in command.params:
            if not parameter.hidden:
                yield f"{name} {parameter.opts[0]}", parameter


def test_every_argument_and_option_has_a_help_text_of_sentences() -> None:
    texts = {name: parameter.help or "" for name, parameter in parameters()}
    assert {name: text for name, text in texts.items() if not re.match(r"[A-Z].*\.$", text)} == {}


def test_every_value_is_named_in_capitals_or_by_its_choices() -> None:
    metavars = {
        name: str(parameter.metavar)
        for name, parameter in parameters()
        if not (isinstance(parameter, TyperOption) and parameter.is_flag)
    }
    odd = {
        name: metavar
        for name, metavar in metavars.items()
        if not (CHOICE.fullmatch(metavar) or VALUE.fullmatch(metavar))
    }
    assert odd == {}


def test_an_option_names_its_value_alike_in_every_command() -> None:
    metavars: dict[str, set[str]] = {}
    for _, parameter in parameters():
        if isinstance(parameter, TyperOption) and not parameter.is_flag:
            for option in parameter.opts:
                metavars.setdefault(option, set()).add(str(parameter.metavar))
    several = {option: names for option, names in metavars.items() if len(names) > 1}
    of_other_kinds = {"-o", "--output", "--precision", "--format"}
    assert several.keys() <= of_other_kinds


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_names_no_types_of_python_and_cuts_nothing_off(
    name: str, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    [command] = [command for own, command in commands() if own == name]
    arguments = [] if name == "resenc-plans" else name.split()
    text = run(*arguments, "--help").out
    assert not re.search("<[a-z]", text)
    assert "list[" not in text
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and not parameter.hidden:
            assert all(option in text for option in parameter.opts)
    words = " ".join(text.split())
    for own in getattr(command, "commands", {}).values():
        assert " ".join(own.help.partition("\n\n")[0].split()).replace("-", "") in words.replace(
            "- ", ""
        ).replace("-", "")


def test_the_example_stands_on_one_line_to_be_copied(run: Callable[..., Done]) -> None:
    lines = run("convert-old", "--help").out.splitlines()
    assert lines[lines.index("Example:") + 1] == (
        "  resenc-plans convert-old nnUNet_raw_data/Task005_Prostate Dataset005_Prostate"
    )
