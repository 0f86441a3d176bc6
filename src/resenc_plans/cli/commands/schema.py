"""The command that prints the JSON Schemas of files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from resenc_plans.cli.options import output_option
from resenc_plans.cli.render import print_json
from resenc_plans.errors import UsageError


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="plans|dataset|fingerprint|results|study",
            help="The schema. Default: all, with -o.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("FOLDER", "Folder for NAME.schema.json. Default: it is printed."),
    ] = None,
) -> None:
    """Print a JSON Schema (2020-12), or write one or all of them into a folder.

    Example: resenc-plans schema plans
    """
    from resenc_plans.files import make_folder, part_of_path, replace_file
    from resenc_plans.plans.schema import schemas
    from resenc_plans.study.document import results_schema
    from resenc_plans.study.unattended.study_file import study_schema

    known = {**schemas(), "results": results_schema(), "study": study_schema()}
    if name not in known and (name is not None or output is None):
        raise UsageError(f"Choose a schema: {', '.join(known)}.")
    if output is None:
        print_json(known[str(name)])
        return
    make_folder(output)
    for key in known if name is None else (name,):
        with replace_file(output / part_of_path(key, "schema", ending=".schema.json")) as stream:
            stream.write((json.dumps(known[key], indent=2) + "\n").encode())
