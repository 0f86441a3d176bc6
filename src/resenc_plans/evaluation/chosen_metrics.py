"""metrics.json: metrics beside those of summary.json, per case and label, as a user chooses."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.bounding_box import nonzero_box
from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError, UsageError
from resenc_plans.evaluation.known_metrics import find_metrics
from resenc_plans.evaluation.pairs import measure_pairs, without_ignored
from resenc_plans.evaluation.summary import (
    SUMMARY_DIGEST,
    Summary,
    digest_entry,
    region_of_key,
)
from resenc_plans.evaluation.surface import (
    SURFACE_METRICS,
    check_surface_options,
    measure_surfaces,
)
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.files import read_json, write_json

METRICS_JSON = "metrics.json"


@dataclass(frozen=True)
class ChosenMetrics:
    """Metrics by name, of every case and label."""

    names: tuple[str, ...]
    tolerance: float
    """Of NSD, in mm."""
    cases: Mapping[str, Mapping[Region, Mapping[str, float]]]
    """By file name and label or region."""
    problems: tuple[CaseProblem, ...] = ()
    """The cases that could not be measured, by file name."""
    summary_digest: str | None = None
    """That of the summary of the same segmentations, where it is known."""

    def mean(self, region: Region) -> dict[str, float]:
        """Means over the cases in which a metric is defined; NaN without any."""
        rows = [by_region[region] for by_region in self.cases.values() if region in by_region]
        means = {}
        for name in self.names:
            values = [row[name] for row in rows if name in row and not math.isnan(row[name])]
            means[name] = sum(values) / len(values) if values else math.nan
        return means

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a metrics.json, or the surface.json of `evaluate` with surfaces.

        Raises
        ------
        FileError
            It cannot be read, or holds something else.
        """
        document = read_json(path)
        try:
            cases = {
                name: {
                    region_of_key(key): {metric: float(value) for metric, value in figures.items()}
                    for key, figures in by_region.items()
                }
                for name, by_region in document["metric_per_case"].items()
            }
            tolerance = float(document["tolerance_mm"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(
                f"{os.fspath(path)}: does not hold metrics of cases ({type(error).__name__}: "
                f"{error})."
            ) from None
        rows = [figures for by_region in cases.values() for figures in by_region.values()]
        names = tuple(dict.fromkeys(name for row in rows for name in row))
        return cls(names, tolerance, cases, summary_digest=document.get(SUMMARY_DIGEST))

    def save(self, path: str | os.PathLike[str], summary: Summary | None = None) -> None:
        """Write metrics.json, whole or not at all.

        With the `summary` of the same segmentations, whoever reads both can tell whether they still
        belong together.

        Raises
        ------
        FileError
            It cannot be written.
        """
        regions = next(iter(self.cases.values()), {})
        write_json(
            path,
            {
                "tolerance_mm": self.tolerance,
                **digest_entry(summary),
                "mean": {str(region): self.mean(region) for region in regions},
                "metric_per_case": {
                    name: {str(region): dict(figures) for region, figures in by_region.items()}
                    for name, by_region in self.cases.items()
                },
            },
        )


def check_chosen_metrics(names: Sequence[str], tolerance: float) -> tuple[str, ...]:
    """The metrics to compute, beside Dice and IoU, which summary.json has.

    Raises
    ------
    UsageError
        A name is unknown, or the tolerance is negative.
    EvaluationError
        MONAI is not installed, and distances between surfaces are asked for.
    """
    chosen = tuple(m.key for m in find_metrics(names) if m.key not in ("Dice", "IoU"))
    if {*SURFACE_METRICS}.intersection(chosen):
        check_surface_options(tolerance)
    elif not tolerance >= 0:
        raise UsageError(f"`tolerance=` {tolerance}: a distance of at least 0 mm is needed.")
    return chosen


def measure_chosen(
    predictions: str | os.PathLike[str],
    references: str | os.PathLike[str],
    task: EvaluationTask,
    names: Sequence[str],
    *,
    tolerance: float = 1.0,
    on_case: Callable[[str], object] | None = None,
) -> ChosenMetrics:
    """Compute metrics of every segmentation in a folder against its reference.

    Parameters
    ----------
    predictions, references
        Folders of segmentations with the same file names.
    task
        The labels or regions to measure.
    names
        Of the metrics, as `check_chosen_metrics` returns them.
    tolerance
        Of NSD, in mm.
    on_case
        Called with the file name of each finished case.

    Raises
    ------
    EvaluationError
        A folder does not exist, or there is nothing to measure.
    """
    measure = partial(measure_case, names=names, tolerance=tolerance)
    cases, problems = measure_pairs(predictions, references, task, measure, on_case=on_case)
    return ChosenMetrics(tuple(names), tolerance, cases, problems)


def measure_case(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float],
    regions: Sequence[Region],
    *,
    names: Sequence[str],
    tolerance: float = 1.0,
    ignore_label: int | None = None,
) -> list[dict[str, float]]:
    """Metrics by name of two label maps `(z, y, x)`; one dictionary per region, in their order."""
    prediction, reference = without_ignored(prediction, reference, ignore_label)
    surfaces: list[dict[str, float]] = [{} for _ in regions]
    if {*SURFACE_METRICS}.intersection(names):
        measured = measure_surfaces(prediction, reference, spacing, regions, tolerance=tolerance)
        surfaces = [one.to_dict() for one in measured]
    results = []
    for region, of_surface in zip(regions, surfaces, strict=True):
        masks = np.isin(prediction, region), np.isin(reference, region)
        computed = {name: of_surface[name] for name in names if name in of_surface}
        for name, compute in _OF_MASKS.items():
            if name in names:
                computed[name] = compute(*masks)
        results.append({name: computed[name] for name in names})
    return results


def centreline_dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """ClDice: how much of each mask's skeleton lies in the other mask, for vessels and the like.

    Shit et al. (2021): clDice - A Novel Topology-Preserving Loss Function for Tubular Structure
    Segmentation. The skeletons are those of scikit-image, of masks `(z, y, x)` or of one plane. 0
    where one mask is empty, NaN where both are.
    """
    if not (prediction.any() and reference.any()):
        return _one_sided(prediction, reference)
    box = nonzero_box([prediction, reference])
    masks = [mask[box] for mask in (prediction, reference)]
    first, second = (mask[0] if mask.shape[0] == 1 else mask for mask in masks)
    precision, sensitivity = _share_of_skeleton(first, second), _share_of_skeleton(second, first)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def lesion_f1(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """F1 of detected pieces of a label, such as lesions, whatever their size.

    Pieces are connected by faces, edges or corners. A piece of the reference is detected if the
    prediction has one of its voxels; a piece of the prediction that touches none of the reference
    is a false positive. 0 where one mask is empty, NaN where both are.

    >>> mask = np.array([[[1, 0, 1, 0, 1]]], bool)
    >>> round(lesion_f1(mask & np.array([1, 0, 0, 0, 1], bool), mask), 3)
    0.8
    """
    from scipy import ndimage

    if not (prediction.any() and reference.any()):
        return _one_sided(prediction, reference)
    touching = np.ones((3,) * reference.ndim)
    pieces, count = ndimage.label(reference, touching)
    predicted, predicted_count = ndimage.label(prediction, touching)
    detected = np.unique(pieces[prediction & reference]).size
    confirmed = np.unique(predicted[prediction & reference]).size
    false = (count - detected) + (predicted_count - confirmed)
    return 2 * detected / (2 * detected + false)


_OF_MASKS: Mapping[str, Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]] = {
    "clDice": centreline_dice,
    "lesion_F1": lesion_f1,
}


def _one_sided(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    return 0.0 if prediction.any() or reference.any() else math.nan


def _share_of_skeleton(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    from skimage.morphology import skeletonize

    skeleton: NDArray[np.bool_] = skeletonize(mask)  # type: ignore[no-untyped-call]
    size = int(skeleton.sum())
    return int((skeleton & other).sum()) / size if size else 0.0
