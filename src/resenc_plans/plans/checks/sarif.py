"""Findings in SARIF 2.1.0, which code review tools read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resenc_plans import __version__
from resenc_plans.datasets.finding import Finding
from resenc_plans.plans.checks.plans_file import FOREIGN_RULE, UNREADABLE_RULE
from resenc_plans.plans.checks.rules import RULES
from resenc_plans.plans.faults import SCHEMA_RULE


def to_sarif(findings: Mapping[Path, Sequence[Finding]]) -> dict[str, Any]:
    """The findings by plans file, each with the line on which its key or configuration begins."""
    titles = {rule.id: rule.title for rule in RULES}
    titles |= {
        UNREADABLE_RULE: "the file can be read",
        SCHEMA_RULE: "the file fits the schema",
        FOREIGN_RULE: "the file is one of those that are checked",
    }
    driver = {
        "name": "resenc-plans",
        "version": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": title}} for rule, title in titles.items()
        ],
    }
    results = [_result(file, finding) for file, group in findings.items() for finding in group]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(file: Path, finding: Finding) -> dict[str, Any]:
    place = ": ".join(part for part in (finding.configuration, finding.key) if part)
    location = {
        "artifactLocation": {"uri": file.as_posix()},
        "region": {"startLine": _line(file, finding)},
    }
    return {
        "ruleId": finding.rule,
        "level": finding.severity,
        "message": {"text": f"{place} {finding.message}".strip()},
        "locations": [{"physicalLocation": location}],
    }


def _line(file: Path, finding: Finding) -> int:
    """The line of a finding's key within its configuration, or where that begins, or 1."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 1
    line = 1
    for name in (finding.configuration, finding.key.partition(".")[0].partition("[")[0]):
        if name:
            later = (n for n, text in enumerate(lines, 1) if n >= line and f'"{name}":' in text)
            line = next(later, line)
    return line
