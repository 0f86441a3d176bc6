"""The command demo: write a small dataset."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.render import say
from resenc_plans.words import counted


def demo(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="A new folder, such as Dataset900_Phantom.",
            show_default=False,
        ),
    ],
    cases: Annotated[int, typer.Option(metavar="N", min=1, help="Number of cases.")] = 8,
) -> None:
    """Write a small made-up dataset, to try every command without data of your own.

    Example: resenc-plans demo Dataset900_Phantom
    """
    from resenc_plans.datasets.demo import write_phantom

    write_phantom(folder, cases)
    say(f"Wrote {counted(cases, 'case')} to {folder}.")
