"""The command that rewrites plans of an older format."""

import typer

from resenc_plans.cli.options import (
    DatasetOption,
    DryRunOption,
    OverwriteOption,
    PlansOption,
    PlansOutputOption,
)
from resenc_plans.cli.render import note, say
from resenc_plans.execution.exit_codes import ExitCode


def upgrade(
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    output: PlansOutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Rewrite a plans file of an older format to the current one; values stay the same.

    Exit code 1 if a network has no current form and is not rewritten.
    Example: resenc-plans upgrade --plans nnUNetPlans.json --dry-run
    """
    from resenc_plans.cli.scope import find_plans, output_of

    plan = find_plans(plans, dataset)
    report = plan.upgrade()
    target = None
    if report.changed and not dry_run:
        target = output_of(plan, output, overwrite=overwrite)
        plan.save(target)
    for line in report.changed:
        say(line)
    for line in report.unchanged:
        note(f"Not rewritten: {line}")
    if not report.changed:
        say(f"{plan.source}: nothing to upgrade.")
    elif target is None:
        say("Nothing was written (--dry-run).")
    else:
        say(f"Wrote {target}.")
    if report.unchanged:
        raise typer.Exit(ExitCode.FAILED)
