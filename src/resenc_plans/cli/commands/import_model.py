"""The command that installs trained models from an archive: import-model."""

from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import OverwriteOption, ResultsOption, size_in_bytes
from resenc_plans.cli.render import say


def import_model(
    archive: Annotated[
        Path,
        typer.Argument(
            metavar="ZIP",
            help="Archive that export-model or nnU-Net wrote.",
            show_default=False,
        ),
    ],
    overwrite: OverwriteOption = False,
    max_size: Annotated[
        float, typer.Option(metavar="GIB", help="Maximum size when unpacked.")
    ] = 100,
    results: ResultsOption = None,
) -> None:
    """Install an archive of trained models, of nnU-Net or ours, in the results folder.

    An archive is refused if it has links or paths that lead elsewhere, or checkpoints or pickles
    that would run code when loaded. Example: resenc-plans import-model hippocampus.zip
    """
    from resenc_plans.folders import results_folder
    from resenc_plans.runs.archive import import_model as install

    models = install(
        archive,
        results_folder(results),
        overwrite=overwrite,
        max_bytes=size_in_bytes(max_size, "--max-size"),
    )
    for model in models:
        say(f"Installed {model}.")
