"""Made-up results: summary.json files with scores that a test chooses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from resenc_plans.datasets.labels import Region
from resenc_plans.evaluation.metrics import Counts, Metrics
from resenc_plans.evaluation.summary import CaseMetrics, Summary

VOXELS = 1000
"""Of each label in each reference."""


def counts_of(dice: float, voxels: int = VOXELS) -> Metrics:
    """Counts with about this Dice; NaN stands for a label that is in neither segmentation."""
    if np.isnan(dice):
        return Counts(0, 0, 0, 9 * voxels).to_dict()
    tp = round(dice * voxels)
    return Counts(tp, voxels - tp, voxels - tp, 9 * voxels).to_dict()


def write_summary(
    folder: Path,
    dice: Mapping[str, Sequence[float]] | np.ndarray,
    *,
    labels: Sequence[Region] = (1, 2),
    voxels: int = VOXELS,
) -> Path:
    """A summary.json with the Dice of each case, by label; an array has case_0, case_1, …"""
    if isinstance(dice, np.ndarray):
        dice = {f"case_{number}": row.tolist() for number, row in enumerate(dice)}
    cases = [
        CaseMetrics(
            f"{folder}/{case}.nii.gz",
            f"references/{case}.nii.gz",
            {label: counts_of(one, voxels) for label, one in zip(labels, row, strict=True)},
        )
        for case, row in dice.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    Summary(tuple(cases), tuple(labels)).save(folder / "summary.json")
    return folder


def dice_like(cases: int, labels: int = 2, *, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Skewed scores; those of one seed are alike, and `shift` better."""
    random = np.random.default_rng(seed)
    own = np.random.default_rng(round(1000 * abs(shift)) + 1)
    scores = random.beta(9, 1.5, (cases, labels)) + shift + own.normal(0, 0.02, (cases, labels))
    clipped: np.ndarray = scores.clip(0, 1)
    return clipped
