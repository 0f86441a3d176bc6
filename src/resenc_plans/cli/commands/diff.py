"""The command that compares two plans."""

from typing import Annotated

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    Format,
    FormatOption,
)
from resenc_plans.cli.render import print_diff, print_json
from resenc_plans.execution.exit_codes import ExitCode


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="BEFORE", help="Plans by name or path.", show_default=False),
    ],
    after: Annotated[
        str,
        typer.Argument(metavar="AFTER", help="Plans by name or path.", show_default=False),
    ],
    dataset: DatasetOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Compare as written, without inheritance.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show what differs between two plans, and what each difference costs.

    Exit code 1 if they differ. Example: resenc-plans diff nnUNetPlans nnUNetResEncUNetLPlans
    """
    from resenc_plans.cli.scope import find_plans

    differences = find_plans(before, dataset).diff(find_plans(after, dataset), resolved=not raw)
    if format is Format.JSON:
        print_json(differences.to_dict())
    else:
        print_diff(differences)
    if differences:
        raise typer.Exit(ExitCode.FAILED)
