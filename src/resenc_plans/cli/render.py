"""What a person sees: tables and notes; plain text where the output is a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from resenc_plans.execution.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from resenc_plans.execution.cases import CaseProblem
    from resenc_plans.plans.diff import PlansDiff


MAX_LINE_LENGTH = 100
"""Of printed JSON."""

MAX_WORD_LENGTH = 24
"""Longer words in a table, paths mostly, may be broken."""


SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
"""Of findings, by `resenc_plans.datasets.finding.Severity`."""
_COST_STYLES = {"nothing": "green", "train again": "yellow", "preprocess again": "red"}


def console(*, error: bool = False) -> "Console":
    """A console on stdout, or on stderr for what is not the result."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else 160
    return Console(
        file=stream, highlight=False, emoji=False, soft_wrap=not stream.isatty(), width=width
    )


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str | None = None,
    fixed: int | None = None,
    names: int = 0,
) -> None:
    """A table; in a pipe the columns are separated by tabs, and the title is a line `# title`.

    The first `fixed` columns are never wrapped; without it, all but the last. The first `names`
    columns among them hold names, which are wrapped where the terminal is narrow.
    """
    if not sys.stdout.isatty():
        if title is not None:
            sys.stdout.write(f"# {title}\n")
        for row in [columns, *rows]:
            sys.stdout.write("\t".join(_plain(cell) for cell in row) + "\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    heading = None if title is None else escape(title)
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    fixed = len(columns) - 1 if fixed is None else fixed
    rows, breakable = list(rows), 0
    for position, column in enumerate(columns):
        no_wrap = names <= position < fixed
        cells = [column, *(str(row[position]) for row in rows)]
        longest = max(cell_len(p) for c in cells for p in ([c] if no_wrap else c.split() or [""]))
        limit = longest if no_wrap else min(longest, MAX_WORD_LENGTH)
        breakable += longest - limit
        table.add_column(escape(column), no_wrap=no_wrap, overflow="fold", min_width=limit)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    screen = console()
    # Rich cuts what must not wrap; a table wider than the terminal is better than a wrong number.
    needed = Measurement.get(screen, screen.options.update(max_width=10_000), table).minimum
    screen.width = max(screen.width, needed - breakable)
    screen.print(table)


def end_with(problems: "Sequence[CaseProblem]") -> None:
    """Print the cases that failed, if any, those for one reason together; exit with code 1."""
    if problems:
        from resenc_plans.execution.cases import together

        rows = [[problem.case, problem.reason] for problem in together(problems)]
        print_table(["case", "why"], rows, fixed=1)
        raise typer.Exit(ExitCode.FAILED)


def print_json(value: Any) -> None:
    """JSON on stdout; lists that fit into a line are written in one."""
    sys.stdout.write(_json(value, "\n") + "\n")


def _json(value: Any, newline: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    inner = newline + "    "
    if isinstance(value, dict) and value:
        entries = (
            f"{json.dumps(str(k), ensure_ascii=False)}: {_json(v, inner)}" for k, v in value.items()
        )
        return "{" + inner + f",{inner}".join(entries) + newline + "}"
    if isinstance(value, list | tuple) and ("{" in line or len(newline + line) > MAX_LINE_LENGTH):
        return "[" + inner + f",{inner}".join(_json(v, inner) for v in value) + newline + "]"
    return line


def print_diff(differences: "PlansDiff") -> None:
    """Print the differences as a table, with what each costs."""
    from resenc_plans.plans.diff import ABSENT

    if not differences:
        say("No difference.")
        return
    rows = [
        [
            change.configuration or "(file)",
            change.key or "(whole)",
            "-" if change.before is ABSENT else short_json(change.before),
            "-" if change.after is ABSENT else short_json(change.after),
            styled(str(change.cost), _COST_STYLES[str(change.cost)]),
        ]
        for change in differences.changes
    ]
    print_table(["configuration", "key", "before", "after", "costs"], rows, fixed=1)


def say(message: str, style: str | None = None) -> None:
    """A line of the result, on stdout."""
    console().print(message, style=style, markup=False)


def print_commands(text: str, *, error: bool = False) -> None:
    """Commands to be pasted into a shell: as they are, however narrow the terminal."""
    stream = sys.stderr if error else sys.stdout
    stream.write(text.rstrip("\n") + "\n")


def note(message: str, style: str = "yellow") -> None:
    """A line beside the result, on stderr, after what was printed before it."""
    with suppress(BrokenPipeError):  # Whoever reads the result may be gone; the note is for others.
        sys.stdout.flush()
    console(error=True).print(message, style=style, markup=False)


def styled(text: str, style: str) -> Any:
    """A table cell in a style."""
    if not sys.stdout.isatty():
        return text
    from rich.text import Text

    return Text(text, style=style)


def short_json(value: Any) -> str:
    """A value as JSON in one line, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _plain(cell: Any) -> str:
    return str(cell).replace("\t", " ").replace("\n", " ")
