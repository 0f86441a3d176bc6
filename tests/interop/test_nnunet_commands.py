"""The table of nnU-Net's commands against the parsers of the real nnU-Net."""

import json
from collections.abc import Callable

from resenc_plans.cli.nnunet_commands import NNUNET_COMMANDS, PREFIX

PARSERS = """
import argparse, json
from importlib.metadata import distribution

class Parsed(Exception):
    pass

def arguments(parser, *_, **__):
    raise Parsed([
        name
        for action in parser._actions if not isinstance(action, argparse._HelpAction)
        for name in action.option_strings or [action.dest]
    ])

argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_known_args = arguments
commands = {}
for entry in distribution("nnunetv2").entry_points:
    if entry.group == "console_scripts":
        try:
            entry.load()()
        except Parsed as parsed:
            commands[entry.name] = parsed.args[0]
print("COMMANDS" + json.dumps(commands))
"""


def test_the_table_has_every_command_and_every_option(peer: Callable[..., str]) -> None:
    real = json.loads(peer(PARSERS).rpartition("COMMANDS")[2])
    ours = {PREFIX + known.name: sorted(known.options) for known in NNUNET_COMMANDS}
    assert ours == {name: sorted(options) for name, options in real.items()}
