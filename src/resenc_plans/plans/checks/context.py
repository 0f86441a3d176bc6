"""What checks of plans look at, and what they yield."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.plans.configuration import PROVENANCE, ResolvedConfiguration

Violations = Iterator[tuple[str | None, str, str]]
"""What a check yields: configuration (None for the whole file), key, message."""

CheckNetwork = Callable[[ResolvedConfiguration, int, int], object]
"""Raises a `ConfigurationError` or `NetworkError` where the network of a configuration cannot be
built for so many input channels and output heads, or does not take its patch."""


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
    check_network: CheckNetwork | None = None
    """Builds networks of classes that are known only where they can be imported."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the plans were made, as far as they say."""
        written = self.document.get(PROVENANCE)
        return written if isinstance(written, Mapping) else {}
