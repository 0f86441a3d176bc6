"""What a check has to say, of a dataset or of plans."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resenc_plans.errors import bounded
from resenc_plans.reprs import card

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first: it cannot work; it probably is a mistake; for information."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or odd, about a dataset or about plans."""

    rule: str
    """The kind of finding, such as `spacing-mismatch` or `P002`; findings are grouped by it."""
    severity: Severity
    message: str
    configuration: str | None = None
    """In plans; None for keys of the whole file."""
    key: str = ""
    """In plans: the key, dotted, with indices; empty for a whole configuration or file."""
    case: str | None = None
    """In a dataset; None where the finding is about the dataset as a whole."""
    path: Path | None = None
    """In a dataset: the file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", bounded(self.message))

    def __repr__(self) -> str:
        place = (self.configuration, self.key, self.case, self.path)
        what = " ".join(str(part) for part in place if part)
        return card(f"Finding {self.rule} ({self.severity}) {what}".rstrip(), {}, self.message)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by severity, then by rule, then by case."""
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.rule, f.case or ""))
    )
