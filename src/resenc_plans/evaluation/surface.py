"""Distances between the surfaces of prediction and reference, by MONAI (extra `monai`).

MONAI is maintained, measures in mm on anisotropic grids, and is an optional dependency of ours
anyway. The older `surface-distance` has had one release.
"""

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.datasets.images.geometry import checked_spacing
from resenc_plans.datasets.labels import Region
from resenc_plans.errors import EvaluationError, UsageError, expect_type
from resenc_plans.evaluation.metrics import refuse_other_shape
from resenc_plans.evaluation.pairs import measure_pairs, without_ignored
from resenc_plans.evaluation.summary import Summary, digest_entry
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.files import write_json

SURFACE_METRICS = ("HD95", "ASSD", "NSD")

SURFACE_JSON = "surface.json"


@dataclass(frozen=True)
class SurfaceMetrics:
    """Distances for one label or region in one case.

    A surface consists of the centres of the outermost voxels.
    """

    hd95: float
    """95th percentile of the distances of one surface's voxels to the other surface, in mm; the
    larger of the two directions. NaN where a surface is missing."""
    assd: float
    """Mean over the voxels of both surfaces of the distance to the other one, in mm. NaN where a
    surface is missing."""
    nsd: float
    """Share of both surfaces' voxels that lie within the tolerance of the other surface; 0 where
    one surface is missing, NaN where both are."""

    def to_dict(self) -> dict[str, float]:
        """The distances under their common names."""
        return dict(zip(SURFACE_METRICS, (self.hd95, self.assd, self.nsd), strict=True))


@dataclass(frozen=True)
class SurfaceSummary:
    """The surface metrics of all cases."""

    tolerance: float
    """The tolerance of NSD, in mm."""
    cases: Mapping[str, Mapping[Region, SurfaceMetrics]]
    """Metrics by file name and label or region."""
    problems: tuple[CaseProblem, ...]
    """The cases that could not be measured, by file name."""

    def mean(self, region: Region) -> dict[str, float]:
        """Means over the cases in which a metric is defined; NaN without any."""
        values = [metrics[region].to_dict() for metrics in self.cases.values()]
        return {name: _mean([value[name] for value in values]) for name in SURFACE_METRICS}

    def undefined(self, region: Region) -> int:
        """Number of cases in which just one of the two surfaces is missing; means omit them."""
        return sum(
            math.isnan(metrics[region].hd95) and not math.isnan(metrics[region].nsd)
            for metrics in self.cases.values()
        )

    def save(self, path: str | os.PathLike[str], summary: Summary | None = None) -> None:
        """Write surface.json, whole or not at all.

        With the `summary` of the same segmentations, whoever reads both can tell whether they still
        belong together.
        """
        regions = next(iter(self.cases.values()), {})
        document = {
            "tolerance_mm": self.tolerance,
            **digest_entry(summary),
            "mean": {
                str(region): self.mean(region) | {"undefined_cases": self.undefined(region)}
                for region in regions
            },
            "metric_per_case": {
                name: {str(region): metrics.to_dict() for region, metrics in by_region.items()}
                for name, by_region in self.cases.items()
            },
        }
        write_json(path, document)


def measure_surfaces(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float],
    regions: Sequence[Region],
    *,
    tolerance: float = 1.0,
    ignore_label: int | None = None,
) -> tuple[SurfaceMetrics, ...]:
    """Compare the surfaces of two label maps; one result per region, in their order.

    The metrics are MONAI's `compute_hausdorff_distance` (percentile 95),
    `compute_average_surface_distance` (symmetric) and `compute_surface_dice`.

    Parameters
    ----------
    prediction, reference
        Label maps `(z, y, x)` of one shape, of any integer data type. An image of one plane is
        measured in 2D.
    spacing
        Voxel size in mm along z, y, x.
    regions
        Labels, or regions as tuples of labels.
    tolerance
        Distance in mm up to which surfaces count as equal in the normalised surface Dice.
    ignore_label
        Voxels that have this value in the reference are background in both maps.

    Raises
    ------
    EvaluationError
        MONAI is not installed, or the shapes differ.
    DatasetError
        The spacing is not three lengths.
    """
    expect_type(regions, Sequence, "regions", "labels or tuples of labels, such as [1, (1, 2)]")
    refuse_other_shape(prediction, reference)
    spacing = checked_spacing(spacing)
    prediction, reference = without_ignored(prediction, reference, ignore_label)
    return tuple(
        _compare(_mask(prediction, region), _mask(reference, region), spacing, tolerance)
        for region in regions
    )


def measure_folder(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    *,
    tolerance: float = 1.0,
    on_case: Callable[[str], object] | None = None,
) -> SurfaceSummary:
    """Measure the surfaces of every segmentation in a folder against its reference.

    Parameters
    ----------
    predictions, references
        Folders of segmentations with the same file names.
    task
        The labels or regions to measure.
    tolerance
        Tolerance of the normalised surface Dice, in mm.
    on_case
        Called with the file name of each finished case.

    Raises
    ------
    UsageError
        The tolerance is negative.
    EvaluationError
        MONAI is not installed, a folder does not exist, or there is nothing to measure.
    """
    check_surface_options(tolerance)
    measure = partial(measure_surfaces, tolerance=tolerance)
    cases, problems = measure_pairs(predictions, references, task, measure, on_case=on_case)
    return SurfaceSummary(tolerance, cases, problems)


def check_surface_options(tolerance: float) -> None:
    """Make sure that surfaces can be measured.

    Raises
    ------
    UsageError
        The tolerance, in mm, is negative or not a number.
    EvaluationError
        MONAI is not installed.
    """
    if not tolerance >= 0:
        raise UsageError(f"`tolerance=` {tolerance}: a distance of at least 0 mm is needed.")
    _monai()


def _compare(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float,
) -> SurfaceMetrics:
    has_surface = bool(prediction.any()), bool(reference.any())
    if not all(has_surface):
        return SurfaceMetrics(math.nan, math.nan, 0.0 if any(has_surface) else math.nan)
    box = nonzero_box([prediction, reference])
    masks = prediction[box], reference[box]
    if prediction.shape[0] == 1:
        masks, spacing = (masks[0][0], masks[1][0]), spacing[1:]
    import torch

    metrics = _monai()
    pair = [torch.from_numpy(np.pad(mask, 1))[None, None] for mask in masks]
    options = {"include_background": True, "spacing": tuple(float(size) for size in spacing)}
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn of an argument that they use themselves and have deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        return SurfaceMetrics(
            float(metrics.compute_hausdorff_distance(*pair, percentile=95, **options)),
            float(metrics.compute_average_surface_distance(*pair, symmetric=True, **options)),
            float(metrics.compute_surface_dice(*pair, class_thresholds=[tolerance], **options)),
        )


def _mask(labels: NDArray[Any], region: Region) -> NDArray[np.bool_]:
    return np.isin(labels, region)


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _monai() -> Any:
    try:
        from monai import metrics
    except ImportError:
        raise EvaluationError(
            "Surface distances need MONAI: pip install 'resenc-plans[monai]'."
        ) from None
    return metrics
