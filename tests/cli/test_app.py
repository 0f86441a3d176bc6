"""The command line as a whole."""

from tests.cli.option_list import OPTIONS, option_lines


def test_commands_take_the_options_that_are_listed() -> None:
    """An option is added, renamed or removed on purpose: `make options` writes the new list."""
    assert list(option_lines()) == OPTIONS.read_text(encoding="utf-8").splitlines()
