"""What a check has to say, of a dataset or of plans."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resenc_plans.errors import bounded
from resenc_plans.execution.cases import MAX_ALIKE, CaseProblem, of_any_case
from resenc_plans.reprs import card, listed
from resenc_plans.words import counted

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

    @property
    def sentence(self) -> str:
        """The message, which ends with one full stop, question mark or the rule in brackets."""
        return self.message if self.message.endswith((".", "?", "]")) else f"{self.message}."

    @property
    def line(self) -> str:
        """In plans: configuration, key, message and rule.

        >>> Finding("P103", "warning", "is 1.", "3d_fullres", "batch_size").line
        '3d_fullres: batch_size is 1. [P103]'
        """
        name = f"{self.configuration}: " if self.configuration else ""
        return f"{name}{f'{self.key} ' if self.key else ''}{self.message} [{self.rule}]"

    def __repr__(self) -> str:
        place = (self.configuration, self.key, self.case, self.path)
        what = " ".join(str(part) for part in place if part)
        return card(f"Finding {self.rule} ({self.severity}) {what}".rstrip(), {}, self.message)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by severity, then by rule, then by case."""
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.rule, f.case or ""))
    )


def by_rule(findings: Iterable[Finding], cases: int) -> tuple[str, ...]:
    """A line for each rule that a dataset of so many cases breaks, however many break it.

    >>> wrong = [Finding("a-rule", "error", f"c{n}.nii is wrong.", case=f"c{n}") for n in range(9)]
    >>> by_rule(wrong, 20)
    ('error: 9 of 20 cases (c0, c1, c2 and 6 more): CASE.nii is wrong. [a-rule]',)
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        of_dataset = finding.case is None
        groups.setdefault((finding.rule, finding.message if of_dataset else ""), []).append(finding)
    return tuple(
        f"{group[0].severity}: {_message(group, cases)} [{group[0].rule}]"
        for group in groups.values()
    )


def _message(group: Sequence[Finding], cases: int) -> str:
    """What is wrong with the dataset or several cases, by the first's example where they differ."""
    problems = [CaseProblem(f.case, f.message) for f in group if f.case is not None]
    if not problems:
        return group[0].message
    names = dict.fromkeys(problem.case for problem in problems)
    if len(names) == 1:
        return str(problems[0])
    where = f"{len(names)} of {counted(cases, 'case')} ({listed(names, MAX_ALIKE)})"
    reasons = {of_any_case(problem) for problem in problems}
    return f"{where}: {reasons.pop()}" if len(reasons) == 1 else f"{where}, such as {problems[0]}"
