"""The command that installs trained models from the web: download-model."""

from typing import Annotated

import typer

from resenc_plans.cli.options import OverwriteOption, ResultsOption, size_in_bytes
from resenc_plans.cli.render import note, say


def download_model(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="URL of an archive, or the path of one.", show_default=False
        ),
    ],
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256",
            metavar="DIGEST",
            help="The SHA-256 that the archive must have.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    max_size: Annotated[
        float,
        typer.Option(metavar="GIB", help="Maximum size of the download, and when unpacked."),
    ] = 100,
    results: ResultsOption = None,
) -> None:
    """Download an archive of trained models, and install it as import-model does.

    An archive of another SHA-256 is refused before it is unpacked.
    Example: resenc-plans download-model https://example.org/hippocampus.zip --sha256 DIGEST
    """
    from resenc_plans.folders import results_folder
    from resenc_plans.runs.download import download_model as install

    installed = install(
        url,
        results_folder(results),
        sha256=sha256,
        overwrite=overwrite,
        max_bytes=size_in_bytes(max_size, "--max-size"),
    )
    for model in installed.models:
        say(f"Installed {model}.")
    if sha256 is None:
        note(f"Its SHA-256 is {installed.sha256}: compare it with the publisher's (--sha256).")
