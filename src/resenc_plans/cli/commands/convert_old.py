"""The command that converts a dataset of nnU-Net v1: convert-old."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import RawOption
from resenc_plans.cli.render import print_commands, say


def convert_old(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="The raw task of nnU-Net v1, such as nnUNet_raw_data/Task005_Prostate.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The new dataset's name, such as Dataset005_Prostate.",
            show_default=False,
        ),
    ],
    raw: RawOption = None,
) -> None:
    """Convert a raw dataset of nnU-Net v1, as nnU-Net does.

    All files are written, or none.
    Example: resenc-plans convert-old nnUNet_raw_data/Task005_Prostate Dataset005_Prostate
    """
    from resenc_plans.datasets.conversion import convert_old_dataset

    folder = convert_old_dataset(source, name, raw)
    say(f"Wrote {folder}.")
    print_commands(f"resenc-plans verify -d {folder}")
