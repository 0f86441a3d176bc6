"""The command that checks plans files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import (
    AllowImportOption,
    DatasetOption,
    PlansOption,
    ReviewFormat,
    format_option,
    option_names,
    with_options,
)
from resenc_plans.cli.render import SEVERITY_STYLES, print_json, print_table, say, styled
from resenc_plans.errors import DatasetError, PlansError, UsageError
from resenc_plans.execution.exit_codes import ExitCode

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.finding import Finding


def validate(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="JSON files: plans, dataset.json, fingerprint, splits, summary.json, settings. "
            "Default: the plans in the current folder, else the dataset's.",
            show_default=False,
        ),
    ] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    allow_import: AllowImportOption = None,
    format: Annotated[
        ReviewFormat,
        format_option(
            "table|json|sarif", "A table for people, JSON, or SARIF for tools of code review."
        ),
    ] = ReviewFormat.TABLE,
) -> None:
    """Check plans: the JSON Schema first, then the rules beyond it; and nnU-Net's other JSON files.

    The dataset.json and the fingerprint beside plans are used. Exit code 1 if there is an error,
    2 if a file cannot be read. Example: resenc-plans validate
    """
    from resenc_plans.cli.network_check import network_check
    from resenc_plans.cli.scope import find_scope, path_of_plans
    from resenc_plans.plans.checks.plans_file import UNREADABLE_RULE
    from resenc_plans.plans.checks.sarif import to_sarif
    from resenc_plans.plans.plans import plans_files
    from resenc_plans.workflows.check_file import check_file

    if files and plans is not None:
        raise UsageError("Give files or --plans, not both.")
    if plans is not None:
        files = [path_of_plans(plans, dataset)]
    if not files:
        files = plans_files(Path()) if dataset is None else []
        files = files or plans_files(find_scope(dataset).preprocessed)
        if not files:
            raise PlansError("No plans files found. Name the files to validate.")
    described = _dataset(dataset)
    check = network_check(allow_import)
    findings = {file: check_file(file, described, check_network=check) for file in files}
    if format is ReviewFormat.JSON:
        print_json([_as_json(file, finding) for file in files for finding in findings[file]])
    elif format is ReviewFormat.SARIF:
        print_json(to_sarif(findings))
    else:
        _print(findings, option_names(context.command.params))
    together = [finding for group in findings.values() for finding in group]
    if any(finding.rule == UNREADABLE_RULE for finding in together):
        raise typer.Exit(ExitCode.NOTHING_DONE)
    if any(finding.severity == "error" for finding in together):
        raise typer.Exit(ExitCode.FAILED)


def _dataset(dataset: str | None) -> "Dataset | None":
    from resenc_plans.cli.scope import find_scope

    if dataset is not None:
        return find_scope(dataset).dataset()
    try:
        return find_scope(None).dataset()
    except DatasetError:
        return None


def _print(findings: "dict[Path, tuple[Finding, ...]]", options: dict[str, str]) -> None:
    for file, group in findings.items():
        if not group:
            say(f"{file}: no findings.")
            continue
        say(f"{file}:", style="bold")
        print_table(
            ["severity", "rule", "configuration", "key", "what"],
            [
                [
                    styled(finding.severity, SEVERITY_STYLES[finding.severity]),
                    finding.rule,
                    finding.configuration or "(file)",
                    finding.key,
                    with_options(finding.message, options),
                ]
                for finding in group
            ],
        )


def _as_json(file: Path, finding: "Finding") -> dict[str, Any]:
    return {
        "file": str(file),
        "rule": finding.rule,
        "severity": finding.severity,
        "configuration": finding.configuration,
        "key": finding.key,
        "message": finding.message,
    }
