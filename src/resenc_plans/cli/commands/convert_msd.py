"""The command that converts a task of the Medical Segmentation Decathlon: convert-msd."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import RawOption, WorkersOption
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import print_commands, say


def convert_msd(
    source: Annotated[
        Path,
        typer.Option(
            "-i",
            "--input",
            metavar="FOLDER",
            help="The unpacked task, such as Task05_Prostate.",
            show_default=False,
        ),
    ],
    new_id: Annotated[
        int | None,
        typer.Option(
            "--id",
            "-overwrite_id",
            metavar="N",
            min=1,
            max=999,
            help="The new dataset's number. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    raw: RawOption = None,
    workers: WorkersOption = None,
) -> None:
    """Convert a task of the Medical Segmentation Decathlon to a dataset, as nnU-Net does.

    All files are written, or none. Example: resenc-plans convert-msd -i Task05_Prostate
    """
    from resenc_plans.datasets.conversion import convert_msd as convert

    folder = convert(source, raw, new_id=new_id, workers=workers, progress=case_progress)
    say(f"Wrote {folder}.")
    print_commands(f"resenc-plans verify -d {folder}")
