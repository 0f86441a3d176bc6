"""The page of nnU-Net's commands, from the table that the command line answers by.

`python -m tests.cli.command_table` writes it to `docs/nnunet-commands.md`.
"""

from collections.abc import Iterator

from resenc_plans.cli.nnunet_commands import NNUNET_COMMANDS, PREFIX
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "nnunet-commands.md"

INTRODUCTION = """# nnU-Net's commands

Each command of nnU-Net 2.8.1 with all of its options, and what stands for them here. Environment
variables, folders and files are the same, so that you can change over at any step. Where a value
differs in form, or where there is no such option, the last column says what to do; the command line
answers nnU-Net's options and commands with the same words. The tests compare this page with the
commands here and with nnU-Net's own.
"""


def page() -> str:
    """The page in Markdown."""
    return "\n".join([INTRODUCTION, *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    yield "| nnU-Net | here |"
    yield "|---|---|"
    for known in NNUNET_COMMANDS:
        yield f"| [{PREFIX}{known.name}](#{PREFIX.lower()}{known.name.lower()}) | `{known.line}` |"
    for known in NNUNET_COMMANDS:
        yield ""
        yield f"## {PREFIX}{known.name}"
        yield ""
        yield f"`resenc-plans {known.line}`. {known.remark}".rstrip()
        yield ""
        yield "| option | here | what differs |"
        yield "|---|---|---|"
        for option, (own, remark) in known.options.items():
            written = "none" if own is None else f"`{own}`"
            yield f"| `{option}` | {written} | {remark} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
