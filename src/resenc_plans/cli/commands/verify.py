"""The command verify: check a raw dataset."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from resenc_plans.cli.commands.fingerprint import case_pool
from resenc_plans.cli.options import (
    DatasetOption,
    Format,
    FormatOption,
    WorkersOption,
)
from resenc_plans.cli.progress import case_progress
from resenc_plans.cli.render import SEVERITY_STYLES, print_json, print_table, say, styled
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resenc_plans.datasets.finding import Finding


def verify(
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Check a raw dataset: every file, header, label and voxel, all findings in one pass.

    Exit code 1 if there is an error. Example: resenc-plans verify -d 4
    """
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.datasets.integrity import verify_dataset

    data = find_scope(dataset).dataset()
    with case_progress("Verifying", len(data.cases)) as on_case, case_pool(workers) as executor:
        findings = verify_dataset(data, executor=executor, on_case=on_case)
    if format is Format.JSON:
        print_json([_as_json(finding) for finding in findings])
    elif findings:
        print_table(["severity", "check", "case", "what"], _rows(findings))
    if format is Format.TABLE:
        counts = {s: sum(f.severity == s for f in findings) for s in SEVERITY_STYLES}
        summary = ", ".join(counted(count, s) for s, count in counts.items() if count)
        say(f"{data.name}: {counted(len(data.cases), 'case')}, {summary or 'no findings'}.")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _rows(findings: "Sequence[Finding]") -> "Iterator[list[Any]]":
    """A line for each finding; cases with the same one share a line."""
    from resenc_plans.execution.cases import CaseProblem, together

    for (severity, rule), group in groupby(findings, key=lambda f: (f.severity, f.rule)):
        alike = together(CaseProblem(f.case or "(dataset)", f.message) for f in group)
        for one in alike:
            yield [styled(severity, SEVERITY_STYLES[severity]), rule, one.case, one.reason]


def _as_json(finding: "Finding") -> dict[str, str | None]:
    return {
        "severity": finding.severity,
        "id": finding.rule,
        "case": finding.case,
        "path": None if finding.path is None else str(finding.path),
        "message": finding.message,
    }
