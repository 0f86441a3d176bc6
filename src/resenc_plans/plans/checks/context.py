"""What checks of plans look at, and what they yield."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.plans.configuration import ResolvedConfiguration

Violations = Iterator[tuple[str | None, str, str]]
"""What a check yields: configuration (None for the whole file), key, message."""


@dataclass(frozen=True)
class CheckContext:
    """A plans document, its configurations as they run, and the dataset that it is for."""

    document: Mapping[str, Any]
    path: Path | None
    """The plans file, if there is one."""
    resolved: Mapping[str, ResolvedConfiguration]
    unresolved: Mapping[str, str]
    """Why the other configurations do not resolve."""
    dataset: DatasetJson | None
    fingerprint_digest: str | None
