"""What a rule is, what it looks at, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from resenc_plans.plans.configuration import ResolvedConfiguration

if TYPE_CHECKING:
    from resenc_plans.datasets.dataset_json import DatasetJson
    from resenc_plans.plans.plans import Plans

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found. `configuration` is None for keys of the whole file."""

    rule: str
    severity: Severity
    configuration: str | None
    key: str
    message: str


@dataclass(frozen=True)
class Subject:
    """What rules look at: the plans, and those configurations that resolve."""

    plan: "Plans"
    document: dict[str, Any]
    resolved: dict[str, ResolvedConfiguration]
    dataset: "DatasetJson | None"
    fingerprint_digest: str | None


Found = Iterator[tuple[str | None, str, str]]
"""What a check yields: configuration (None for the whole file), key, message."""


@dataclass(frozen=True)
class Rule:
    """A rule: its id, how bad a finding is, what it says in one line, and the check itself."""

    id: str
    severity: Severity
    title: str
    check: Callable[[Subject], Found]
