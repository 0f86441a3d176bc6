"""The published comparison of nnU-Net Revisited, and which preset fits a method's budget.

Isensee, Wald, Ulrich, Baumgartner, Roy, Maier-Hein, Jaeger (2024): nnU-Net Revisited: A Call for
Rigorous Validation in 3D Medical Image Segmentation, arXiv 2404.09556. Mean Dice of five-fold
cross-validation, trained from scratch; GPU memory as nvidia-smi reports it in training; hours on
one A100 PCIe 40 GB.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import hypot, isfinite, log

from resenc_plans.errors import PlanningError

DATASETS = ("BTCV", "ACDC", "LiTS", "BraTS", "KiTS", "AMOS")

_PRESETS = {
    "nnU-Net (org.)": "default",
    "nnU-Net ResEnc M": "M",
    "nnU-Net ResEnc L": "L",
    "nnU-Net ResEnc XL": "XL",
}


@dataclass(frozen=True)
class PublishedResult:
    """One system of the comparison. `dice` is in percent, in the order of `DATASETS`."""

    system: str
    dice: tuple[float, ...]
    vram_gb: float
    hours: float
    architecture: str
    preset: str | None

    @property
    def mean_dice(self) -> float:
        """Mean of the datasets, in percent."""
        return sum(self.dice) / len(self.dice)


@dataclass(frozen=True)
class BudgetMatch:
    """A preset beside a method's budget: how many times as much memory and time it takes."""

    result: PublishedResult
    vram_ratio: float | None
    hours_ratio: float | None

    @property
    def distance(self) -> float:
        """Distance of the logarithms: twice as much is as far as half as much."""
        return hypot(*(log(ratio) for ratio in (self.vram_ratio, self.hours_ratio) if ratio))


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """All systems of the comparison, in the order of the paper's table."""
    text = files(__package__).joinpath("published_results.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedResult(
            system=row["system"],
            dice=tuple(float(row[f"{name.lower()}_dice"]) for name in DATASETS),
            vram_gb=float(row["vram_gb"]),
            hours=float(row["runtime_hours_a100"]),
            architecture=row["architecture"],
            preset=_PRESETS.get(row["system"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def match_budget(vram_gb: float | None, hours: float | None) -> tuple[BudgetMatch, ...]:
    """The presets by how closely they match a budget, the closest first.

    The paper asks to compare a new method with the residual-encoder variant whose memory and
    compute are nearest to the method's.

    >>> match_budget(23, 35)[0].result.preset
    'L'

    Raises
    ------
    PlanningError
        A budget is not positive, or there is none.
    """
    budgets = [budget for budget in (vram_gb, hours) if budget is not None]
    if not budgets or not all(isfinite(budget) and budget > 0 for budget in budgets):
        raise PlanningError("Give a positive `vram_gb=` (GB), `hours=`, or both.")
    matches = [
        BudgetMatch(
            result,
            result.vram_gb / vram_gb if vram_gb else None,
            result.hours / hours if hours else None,
        )
        for result in published_results()
        if result.preset
    ]
    return tuple(sorted(matches, key=lambda match: match.distance))
