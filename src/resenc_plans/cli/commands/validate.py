"""Commands that check plans files and print their schemas: validate, schema."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans import __version__
from resenc_plans.cli.options import DatasetOption, ReviewFormat
from resenc_plans.cli.render import print_json, print_table, say, styled
from resenc_plans.errors import DatasetError, FileError, PlansError, ResencPlansError
from resenc_plans.folders import DATASET_JSON, FINGERPRINT_JSON

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.checks.findings import Finding


SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


_SARIF_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


UNREADABLE_RULE = "S000"


def validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Plans files. Without them: those in scope.", show_default=False),
    ] = None,
    dataset: DatasetOption = None,
    format: Annotated[
        ReviewFormat, typer.Option("--format", help="Table, JSON, or SARIF for code review.")
    ] = ReviewFormat.TABLE,
) -> None:
    """Check plans files: the JSON Schema first, then the rules beyond it.

    A dataset.json and a fingerprint beside a file are taken into account. Exit code 1 if there is
    an error, 2 if a file cannot be read. Example: resenc-plans validate
    """
    from resenc_plans.cli.scope import find_scope, plans_files

    if not files:
        files = plans_files(Path()) if dataset is None else []
        files = files or plans_files(find_scope(dataset).preprocessed)
        if not files:
            raise PlansError("No plans file in scope. Name the files to validate.")
    described = _dataset(dataset)
    findings = {file: _check(file, described) for file in files}
    if format is ReviewFormat.JSON:
        print_json([_as_json(file, finding) for file in files for finding in findings[file]])
    elif format is ReviewFormat.SARIF:
        print_json(_sarif(findings))
    else:
        _print(findings)
    found = [finding for group in findings.values() for finding in group]
    if any(finding.rule == UNREADABLE_RULE for finding in found):
        raise typer.Exit(2)
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


def _check(file: Path, dataset: "Dataset | None") -> "tuple[Finding, ...]":
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.datasets.fingerprint import Fingerprint
    from resenc_plans.files import read_json
    from resenc_plans.plans.checks.findings import Finding
    from resenc_plans.plans.checks.schema import SCHEMA_RULE, schema_faults
    from resenc_plans.plans.plans import Plans

    try:
        document = read_json(file)
    except FileError as error:
        return (Finding(UNREADABLE_RULE, "error", None, "", _without(file, error)),)
    faults = list(schema_faults(document))
    if dataset is None and (file.parent / DATASET_JSON).is_file():
        try:
            dataset = Dataset.load(str(file.parent))
        except ResencPlansError as error:
            faults.append(Finding(UNREADABLE_RULE, "error", None, DATASET_JSON, str(error)))
    try:
        plan = Plans.from_dict(document, path=file) if isinstance(document, dict) else None
    except PlansError as error:
        return tuple(faults) or (Finding(SCHEMA_RULE, "error", None, "", _without(file, error)),)
    if plan is None:
        return tuple(faults)
    beside = file.parent / FINGERPRINT_JSON
    fingerprint = Fingerprint.load(beside) if beside.is_file() else None
    return (*faults, *plan.validate_rules(dataset, fingerprint=fingerprint))


def _dataset(dataset: str | None) -> "Dataset | None":
    from resenc_plans.cli.scope import find_scope

    if dataset is not None:
        return find_scope(dataset).dataset()
    try:
        return find_scope(None).dataset()
    except DatasetError:
        return None


def _print(findings: "dict[Path, tuple[Finding, ...]]") -> None:
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
                    finding.message,
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


def _sarif(findings: "dict[Path, tuple[Finding, ...]]") -> dict[str, Any]:
    """The findings in SARIF 2.1.0, with the line on which a configuration begins."""
    from resenc_plans.plans.checks.rules import RULES
    from resenc_plans.plans.checks.schema import SCHEMA_RULE

    titles = {rule.id: rule.title for rule in RULES}
    titles |= {UNREADABLE_RULE: "the file can be read", SCHEMA_RULE: "the file fits the schema"}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "resenc-plans",
                        "version": __version__,
                        "rules": [
                            {"id": key, "shortDescription": {"text": title}}
                            for key, title in titles.items()
                        ],
                    }
                },
                "results": [
                    {
                        "ruleId": finding.rule,
                        "level": _SARIF_LEVELS[finding.severity],
                        "message": {"text": _sentence(finding)},
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": file.as_posix()},
                                    "region": {"startLine": _line(file, finding)},
                                }
                            }
                        ],
                    }
                    for file, group in findings.items()
                    for finding in group
                ],
            }
        ],
    }


def _sentence(finding: "Finding") -> str:
    where = ": ".join(part for part in (finding.configuration, finding.key) if part)
    return f"{where} {finding.message}".strip()


def _line(file: Path, finding: "Finding") -> int:
    """The line of a finding's key within its configuration, or where that begins, or 1."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    line = 1
    for wanted in (finding.configuration, finding.key.partition(".")[0].partition("[")[0]):
        if wanted:
            later = (n for n, text in enumerate(lines, 1) if n >= line and f'"{wanted}":' in text)
            line = next(later, line)
    return line


def _without(file: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{file}: ")
