"""What a check of a dataset has to say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first: nothing good comes of it; look at it; just so that you know."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or odd, about a dataset."""

    severity: Severity
    id: str
    """The kind of finding, such as `spacing-mismatch`; findings are grouped by it."""
    case: str | None
    """None where the finding is about the dataset as a whole."""
    path: Path | None
    message: str


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Sorted by severity, then by kind, then by case."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.id, f.case or "")))
