"""The metrics that methods are compared by."""

from collections.abc import Iterable
from dataclasses import dataclass

from resenc_plans.errors import UsageError, shown


@dataclass(frozen=True)
class Metric:
    """A figure per case and label."""

    key: str
    """Its name in summary.json or metrics.json."""
    title: str
    is_share: bool = True
    """From 0 to 1, the higher the better; otherwise a distance in mm, the lower the better."""

    @property
    def tie(self) -> float:
        """Differences of a case up to here count as equal, unless the caller has another limit."""
        return 0.01 if self.is_share else 0.5

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.is_share else -1

    @property
    def unit(self) -> str:
        """Of the figure; empty for a share."""
        return "" if self.is_share else "mm"


KNOWN_METRICS = {
    metric.key: metric
    for metric in (
        Metric("Dice", "Dice"),
        Metric("IoU", "IoU"),
        Metric("NSD", "normalised surface Dice"),
        Metric("HD95", "95th percentile of the Hausdorff distance", is_share=False),
        Metric("ASSD", "average symmetric surface distance", is_share=False),
        Metric("clDice", "centreline Dice"),
        Metric("lesion_F1", "F1 of detected lesions"),
    )
}


def find_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """Metrics by name, whatever the case of its letters.

    >>> [metric.key for metric in find_metrics(["dice", "hd95"])]
    ['Dice', 'HD95']

    Raises
    ------
    UsageError
        A name is unknown.
    """
    by_name = {key.lower(): metric for key, metric in KNOWN_METRICS.items()}
    names = list(dict.fromkeys(names))
    for name in names:
        if name.lower() not in by_name:
            raise UsageError(
                f"`metrics=` {shown(name)}: not a metric. There is: {', '.join(KNOWN_METRICS)}."
            )
    return tuple(dict.fromkeys(by_name[name.lower()] for name in names))
