"""Voxel counts of two label maps, such as true positives, and the ratios computed from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import EvaluationError, expect_type

METRICS = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")
"""The metrics per case and label, in the order of nnU-Net's summary.json."""

Metrics = Mapping[str, float]
"""Metrics by name, as in `METRICS`."""

_CHUNK = 1 << 16
"""Number of voxels counted at a time, few enough for a processor's cache."""


@dataclass(frozen=True)
class Counts:
    """Numbers of voxels for one label or region in one case, without those of the ignore label."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where neither map has the label.

        >>> Counts(tp=3, fp=1, fn=1, tn=10).dice
        0.75
        """
        union = self.tp + self.fp + self.fn
        return 2 * self.tp / (self.tp + union) if union else float("nan")

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); NaN where neither map has the label.

        >>> Counts(tp=3, fp=1, fn=1, tn=10).iou
        0.6
        """
        union = self.tp + self.fp + self.fn
        return self.tp / union if union else float("nan")

    @property
    def n_pred(self) -> int:
        """Number of voxels that have the label in the prediction."""
        return self.tp + self.fp

    @property
    def n_ref(self) -> int:
        """Number of voxels that have the label in the reference."""
        return self.tp + self.fn

    def to_dict(self) -> dict[str, float]:
        """The metrics under nnU-Net's names, in its order."""
        values = (
            *(self.dice, self.fn, self.fp, self.iou),
            *(self.tn, self.tp, self.n_pred, self.n_ref),
        )
        return dict(zip(METRICS, values, strict=True))


def count_voxels(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    regions: Sequence[Region],
    ignore_label: int | None = None,
) -> tuple[Counts, ...]:
    """Compare two label maps of one shape; one `Counts` per label or region, in their order.

    The maps may have any axes and any real data type. Voxels where the reference has the ignore
    label are omitted (nnU-Net's `compute_metrics`). All labels are counted in one pass over the
    voxels.

    >>> count_voxels(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), [1, (1, 2)])
    (Counts(tp=1, fp=1, fn=0, tn=2), Counts(tp=3, fp=0, fn=0, tn=1))

    Raises
    ------
    EvaluationError
        The shapes differ.
    """
    expect_type(regions, Sequence, "regions", "labels or tuples of labels, such as [1, (1, 2)]")
    refuse_other_shape(prediction, reference)
    values = sorted({value for region in regions for value in _values(region)})
    if ignore_label is not None and ignore_label not in values:
        values.append(ignore_label)
    joint = _joint_histogram(prediction, reference, values)
    if ignore_label is not None:
        joint[values.index(ignore_label)] = 0
    return tuple(_counts(joint, [values.index(v) for v in _values(region)]) for region in regions)


def refuse_other_shape(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    """Refuse two label maps whose voxels do not correspond.

    Raises
    ------
    EvaluationError
        Their shapes differ.
    """
    if prediction.shape != reference.shape:
        raise EvaluationError(
            f"The prediction has the shape {prediction.shape}, the reference {reference.shape}: "
            "their voxels do not correspond."
        )


def metrics_by_region(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    regions: Sequence[Region],
    ignore_label: int | None = None,
) -> dict[Region, Metrics]:
    """The metrics of two label maps, as `count_voxels` compares them, per label or region."""
    counts = count_voxels(prediction, reference, regions, ignore_label)
    return {region: count.to_dict() for region, count in zip(regions, counts, strict=True)}


def _values(region: Region) -> tuple[int, ...]:
    return tuple(dict.fromkeys(region)) if isinstance(region, tuple) else (region,)


def _counts(joint: NDArray[np.int64], rows: list[int]) -> Counts:
    tp = int(joint[np.ix_(rows, rows)].sum())
    n_ref, n_pred, total = int(joint[rows].sum()), int(joint[:, rows].sum()), int(joint.sum())
    return Counts(tp, n_pred - tp, n_ref - tp, total - n_ref - n_pred + tp)


def _joint_histogram(
    prediction: NDArray[Any], reference: NDArray[Any], values: Sequence[int]
) -> NDArray[np.int64]:
    """Numbers of voxels by the reference's value (rows) and the prediction's (columns).

    The last row and column are for all other values.
    """
    size = len(values) + 1
    joint = np.zeros(size * size, np.int64)
    flat_reference, flat_prediction = reference.reshape(-1), prediction.reshape(-1)
    background = values.index(0) if 0 in values else len(values)
    for start in range(0, flat_reference.size, _CHUNK):
        in_reference = flat_reference[start : start + _CHUNK]
        in_prediction = flat_prediction[start : start + _CHUNK]
        if in_reference.any() or in_prediction.any():
            codes = _positions(in_reference, values) * size + _positions(in_prediction, values)
            joint += np.bincount(codes, minlength=size * size)
        else:
            joint[background * (size + 1)] += in_reference.size
    return joint.reshape(size, size)


def _positions(voxels: NDArray[Any], values: Sequence[int]) -> NDArray[np.int64]:
    """The index of each voxel's value in `values`; `len(values)` for other values."""
    if voxels.dtype.kind in "ui" and voxels.dtype.itemsize == 1:
        table = np.full(256, len(values), np.int64)
        for index, value in enumerate(values):
            if np.iinfo(voxels.dtype).min <= value <= np.iinfo(voxels.dtype).max:
                table[value % 256] = index
        return table[voxels.view(np.uint8)]
    positions = np.full(voxels.shape, len(values), np.int64)
    for index, value in enumerate(values):
        positions[voxels == value] = index
    return positions
