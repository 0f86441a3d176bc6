"""The table of nnU-Net's commands: complete, written down, and true of the commands here."""

import re

import pytest

from resenc_plans.cli.nnunet_commands import NNUNET_COMMANDS, NnunetCommand, answer_to_option
from tests.cli.command_table import PAGE, page
from tests.cli.option_list import OPTIONS

NAMES = [known.name for known in NNUNET_COMMANDS]


def options_of(command: str) -> set[str]:
    """The options and arguments of a command here, as the list of all options has them."""
    lines = OPTIONS.read_text(encoding="utf-8").splitlines()
    own = [line.partition(":")[0].split() for line in lines]
    return {word for first, *words in own if first == command for word in words}


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_there_are_21_commands() -> None:
    assert len(set(NAMES)) == len(NAMES) == 21


@pytest.mark.parametrize("known", NNUNET_COMMANDS, ids=NAMES)
def test_what_stands_for_an_option_exists(known: NnunetCommand) -> None:
    own = options_of(known.command)
    assert own
    written = {option for option in known.line.split() if option.startswith("-")}
    named = {option for option, _ in known.options.values() if option is not None}
    assert written | named - {"--verbose"} <= own
    assert "--verbose" in options_of("resenc-plans")


@pytest.mark.parametrize("known", NNUNET_COMMANDS, ids=NAMES)
def test_an_option_without_a_counterpart_says_what_to_do(known: NnunetCommand) -> None:
    for own, remark in known.options.values():
        assert own is not None or remark
    for command in re.findall(r"`resenc-plans ([a-z][a-z-]*)", str(known.options) + known.remark):
        assert options_of(command)


def test_options_of_other_commands_are_answered_with_the_command() -> None:
    assert answer_to_option("train", "-gpu_memory_target") == (
        "-gpu_memory_target is an option of nnUNetv2_plan_and_preprocess, which is `resenc-plans "
        "create --preprocess -gpu_memory_target` here (with `--name`, unless it is the preset's "
        "own)."
    )
    assert answer_to_option("train", "-x") is None
