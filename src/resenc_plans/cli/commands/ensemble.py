"""The command that averages predictions: ensemble."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import (
    WorkersOption,
    output_option,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import end_with, say
from resenc_plans.errors import UsageError
from resenc_plans.words import counted


def ensemble(
    output: Annotated[Path, output_option("FOLDER", "Folder for the averaged segmentations.")],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folders of probabilities, one or several.",
            show_default=False,
        ),
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FOLDER",
            help="The same, as nnU-Net writes it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", "--save_npz", help="Write the averaged probabilities too."),
    ] = False,
    workers: WorkersOption = None,
) -> None:
    """Average the probabilities of several predictions, as nnUNetv2_ensemble does.

    Each folder was written by predict --probabilities; the labels are those of the first folder's
    dataset.json. Exit code 1 if a case failed.
    Example: resenc-plans ensemble predicted_2d predicted_3d -o ensembled
    """
    from resenc_plans.inference.ensemble import ensemble_folders

    paths = [*(inputs or []), *(folders or [])]
    if not paths:
        raise UsageError("No folder of probabilities was named. Name one or more.")
    total = len(list(paths[0].glob("*.npz")))
    with case_progress("Ensembling", total) as on_case:
        result = ensemble_folders(
            paths, output, probabilities=probabilities, workers=workers, on_case=on_case
        )
    say(f"{counted(len(result.done), 'case')} written to {output}, {len(result.problems)} failed.")
    end_with(result.problems)
