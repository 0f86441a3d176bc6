"""Distances between the surfaces of prediction and reference, by MONAI (extra `monai`).

MONAI is the library that the field keeps: its distances are in mm on anisotropic grids, and it is
an extra of ours already. The older `surface-distance` has had one release.
"""

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import ResencPlansError
from resenc_plans.evaluation.evaluate import Problem, Question, prediction_names, read_pair
from resenc_plans.files import write_json

SURFACE_METRICS = ("HD95", "ASSD", "NSD")


@dataclass(frozen=True)
class SurfaceFigures:
    """Distances of one label or region in one case; a surface is its outermost voxels' centres."""

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
        """The figures under their usual names."""
        return dict(zip(SURFACE_METRICS, (self.hd95, self.assd, self.nsd), strict=True))


@dataclass(frozen=True)
class SurfaceSummary:
    """The figures of all cases."""

    tolerance: float
    cases: Mapping[str, Mapping[Region, SurfaceFigures]]
    problems: tuple[Problem, ...]

    def mean(self, region: Region) -> dict[str, float]:
        """Means over the cases in which a figure is defined; NaN without any."""
        figures = [metrics[region].to_dict() for metrics in self.cases.values()]
        return {name: _mean([f[name] for f in figures]) for name in SURFACE_METRICS}

    def undefined(self, region: Region) -> int:
        """Cases in which just one of the two surfaces is missing, which the means leave out."""
        return sum(
            math.isnan(metrics[region].hd95) and not math.isnan(metrics[region].nsd)
            for metrics in self.cases.values()
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write surface.json, whole or not at all."""
        regions = next(iter(self.cases.values()), {})
        document = {
            "tolerance_mm": self.tolerance,
            "mean": {
                str(region): self.mean(region) | {"undefined_cases": self.undefined(region)}
                for region in regions
            },
            "metric_per_case": {
                name: {str(region): figures.to_dict() for region, figures in metrics.items()}
                for name, metrics in self.cases.items()
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
) -> tuple[SurfaceFigures, ...]:
    """Compare the surfaces of two label maps `(z, y, x)`; one result per region.

    `spacing` is in mm along z, y, x, as `tolerance`. What the reference ignores is background in
    both maps. The figures are MONAI's `compute_hausdorff_distance` (percentile 95),
    `compute_average_surface_distance` (symmetric) and `compute_surface_dice`.

    Raises
    ------
    ResencPlansError
        MONAI is not installed.
    """
    if ignore_label is not None:
        ignored = reference == ignore_label
        prediction, reference = (np.where(ignored, 0, a) for a in (prediction, reference))
    return tuple(
        _compare(_mask(prediction, region), _mask(reference, region), spacing, tolerance)
        for region in regions
    )


def measure_folder(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    question: Question,
    *,
    tolerance: float = 1.0,
    on_case: Callable[[str], object] = lambda _: None,
) -> SurfaceSummary:
    """Measure the surfaces of every segmentation in a folder against its reference.

    Raises
    ------
    ResencPlansError
        MONAI is not installed, the tolerance is negative, or there is nothing to measure.
    """
    if not tolerance >= 0:
        raise ResencPlansError(f"--tolerance {tolerance}: a distance of at least 0 mm is needed.")
    _monai()
    cases, problems = {}, []
    for name in prediction_names(predictions, question.file_ending):
        paths = [os.path.join(folder, name) for folder in (predictions, references)]  # noqa: PTH118
        try:
            prediction, reference = read_pair(paths[0], paths[1], question.reader)
        except ResencPlansError as error:
            problems.append(Problem(name, str(error)))
        else:
            figures = measure_surfaces(
                prediction.array[0], reference.array[0], reference.spacing, question.regions,
                tolerance=tolerance, ignore_label=question.ignore_label,
            )  # fmt: skip
            cases[name] = dict(zip(question.regions, figures, strict=True))
        on_case(name)
    return SurfaceSummary(tolerance, cases, tuple(problems))


def _compare(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float,
) -> SurfaceFigures:
    there = bool(prediction.any()), bool(reference.any())
    if not all(there):
        return SurfaceFigures(math.nan, math.nan, 0.0 if any(there) else math.nan)
    if prediction.shape[0] == 1:
        prediction, reference, spacing = prediction[0], reference[0], spacing[1:]
    import torch

    metrics = _monai()
    box = _box(prediction | reference)
    pair = [torch.from_numpy(np.pad(mask[box], 1))[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": tuple(float(size) for size in spacing)}
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn of their own use of an argument that they have deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        return SurfaceFigures(
            float(metrics.compute_hausdorff_distance(*pair, percentile=95, **options)),
            float(metrics.compute_average_surface_distance(*pair, symmetric=True, **options)),
            float(metrics.compute_surface_dice(*pair, class_thresholds=[tolerance], **options)),
        )


def _mask(labels: NDArray[Any], region: Region) -> NDArray[np.bool_]:
    return np.isin(labels, region)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    bounds = [(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(mask)]
    return tuple(slice(*bound) for bound in bounds)


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _monai() -> Any:
    try:
        from monai import metrics
    except ImportError:
        raise ResencPlansError(
            "Surface distances need MONAI: pip install 'resenc-plans[monai]'."
        ) from None
    return metrics
