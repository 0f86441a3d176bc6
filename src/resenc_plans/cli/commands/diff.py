"""Commands that change or compare plans files: derive, diff, upgrade."""

from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    Format,
    FormatOption,
)
from resenc_plans.cli.render import (
    print_json,
    print_table,
    say,
    short_json,
    styled,
)

if TYPE_CHECKING:
    from resenc_plans.plans.diff import PlansDiff


_COST_STYLES = {"nothing": "green", "train again": "yellow", "preprocess again": "red"}


def diff(
    before: Annotated[str, typer.Argument(show_default=False, help="Plans: name or path.")],
    after: Annotated[str, typer.Argument(show_default=False, help="Plans: name or path.")],
    dataset: DatasetOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Compare as written, inheritance not applied.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """What differs between two plans, and what each difference costs whoever ran the first.

    Exit code 1 if they differ. Example: resenc-plans diff nnUNetPlans nnUNetResEncUNetLPlans
    """
    from resenc_plans.cli.scope import find_plans

    found = find_plans(before, dataset).diff(find_plans(after, dataset), resolved=not raw)
    if format is Format.JSON:
        print_json(found.to_dict())
    else:
        print_diff(found)
    if found:
        raise typer.Exit(1)


def print_diff(found: "PlansDiff") -> None:
    """Print the differences as a table, with what each costs."""
    from resenc_plans.plans.diff import ABSENT

    if not found:
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
        for change in found.changes
    ]
    print_table(["configuration", "key", "before", "after", "costs"], rows, fixed=1)
