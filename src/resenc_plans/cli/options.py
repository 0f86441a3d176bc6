"""Options that several commands share, so that each means one thing everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.errors import ResencPlansError


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


class ReviewFormat(StrEnum):
    """How findings are printed; SARIF is what code review tools read."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


DatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        metavar="DATASET",
        help="Dataset by id (4), name (Dataset004_Hippocampus) or path. "
        "Without it: the current folder.",
        show_default=False,
    ),
]
PlansOption = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--plans",
        metavar="PLANS",
        help="Plans by name or path. Without it: the one plans file in scope.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Where to write.", show_default=False),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written, write nothing.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there already.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-np",
        min=1,
        help="Cases to work on at a time. Without it: what processors and memory allow.",
        show_default=False,
    ),
]
AllowImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="MODULE",
        help="Let the plans name networks and operators of this module, whose code then runs. "
        "May be given several times.",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="A table for people, or JSON.")]


def parse_numbers(text: str, kind: type[int] | type[float], option: str) -> tuple[float, ...]:
    """The numbers of `1x2x3`, `1,2,3` or `1 2 3`.

    >>> parse_numbers("128x128x96", int, "--patch-size")
    (128, 128, 96)
    """
    parts = text.replace("x", " ").replace(",", " ").split()
    try:
        numbers = tuple(kind(part) for part in parts)
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        what = "whole numbers of voxels" if kind is int else "numbers in mm"
        raise ResencPlansError(
            f"{option} {text!r}: positive {what}, one per axis, are needed, such as "
            f"{'128x128x96' if kind is int else '1.0,0.8,0.8'}."
        )
    return numbers
