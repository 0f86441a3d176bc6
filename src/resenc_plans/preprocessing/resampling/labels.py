"""Segmentations on another grid: comparisons nearly everywhere, arithmetic only at borders.

Linear interpolation is a convex combination of the (up to eight) voxels around a point. Where all
of them carry the same label, that label's indicator is 1 and every other's 0, so nothing has to be
calculated: one pass marks the cells of the old grid whose corners differ, and only the new voxels
in such cells are weighed. They are weighed in double precision, with scipy's weights and
order of additions, so that even ties (an indicator of exactly 0.5) fall as they do in nnU-Net.
"""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from resenc_plans.errors import PreprocessingError
from resenc_plans.execution.threads import ForEach
from resenc_plans.preprocessing.resampling.sampling import AxisSampling
from resenc_plans.preprocessing.resampling.spline import nearest, zoomed

PLANES_AT_ONCE = 16
"""Planes that one thread does in a row, since neighbours share what is known of their cells."""

LabelRule = Literal["threshold", "argmax"]
DEFAULT_RULE: LabelRule = "threshold"

Labels = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]

Axes = tuple[AxisSampling, AxisSampling, AxisSampling]
"""Along z, y, x."""


def resample_labels_along(
    volume: Labels,
    out: Labels,
    *,
    axis: int | None,
    order: int,
    order_z: int,
    rule: LabelRule,
    each: ForEach,
) -> None:
    """Resample one segmentation into `out`.

    Parameters
    ----------
    volume, out
        The segmentation (z, y, x) before and after; whole numbers.
    axis
        The axis that is resampled apart with `order_z`; None resamples all axes together.
    order, order_z
        Orders of the splines, 0 to 5.
    rule
        Which label wins, see `resample_labels`.
    each
        Runs the work on planes.

    Raises
    ------
    PreprocessingError
        There is no such rule, or the values are not whole numbers of 32 bits.
    """
    if rule not in get_args(LabelRule):
        raise PreprocessingError(f"rule={rule!r}: choose one of {', '.join(get_args(LabelRule))}.")
    compact = _whole_numbers(volume)
    if axis is None:
        _resample(compact, out, order=order, rule=rule, planes=None, each=each)
        return
    planes, target = np.moveaxis(compact, axis, 0), np.moveaxis(out, axis, 0)
    length, new_length = planes.shape[0], target.shape[0]
    if order_z == 0 or length == new_length:
        selection = nearest(length, new_length)
        _resample(planes, target, order=order, rule=rule, planes=selection, each=each)
        return
    resized = np.empty((length, *target.shape[1:]), planes.dtype)
    _resample(planes, resized, order=order, rule=rule, planes=np.arange(length), each=each)
    _across_planes(resized, target, order_z)


def _whole_numbers(volume: Labels) -> Labels:
    """The labels in the smallest integer type that holds them, since passes cost by the byte."""
    low, high = volume.min(), volume.max()
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            break
    else:
        raise PreprocessingError(f"A segmentation holds labels, not values from {low} to {high}.")
    compact = np.empty(volume.shape, dtype)
    for plane, source in zip(compact, volume, strict=True):
        plane[...] = source
        if volume.dtype.kind == "f" and (plane != source).any():
            raise PreprocessingError("A segmentation holds whole numbers only.")
    return compact


def _resample(
    volume: Labels,
    out: Labels,
    *,
    order: int,
    rule: LabelRule,
    planes: Indices | None,
    each: ForEach,
) -> None:
    """Resample within these planes of the volume, or along all three axes without `planes`."""
    if order == 0:
        _resample_to_nearest(
            volume, out, nearest(len(volume), len(out)) if planes is None else planes
        )
    elif order == 1:
        _resample_linearly(volume, out, rule, planes, each)
    elif planes is None:
        _resample_by_splines(volume, out, order, rule)
    else:
        for target, source in zip(out, planes, strict=True):
            _resample_by_splines(volume[source][None], target[None], order, rule)


def _resample_to_nearest(volume: Labels, out: Labels, planes: Indices) -> None:
    y, x = (nearest(volume.shape[axis], out.shape[axis]) for axis in (1, 2))
    for target, source in zip(out, planes, strict=True):
        target[...] = volume[source][np.ix_(y, x)]


def _resample_linearly(
    volume: Labels, out: Labels, rule: LabelRule, planes: Indices | None, each: ForEach
) -> None:
    along_z, along_y, along_x = axes = (
        AxisSampling.of(len(volume), len(out)) if planes is None else AxisSampling.at(planes),
        AxisSampling.of(volume.shape[1], out.shape[1]),
        AxisSampling.of(volume.shape[2], out.shape[2]),
    )
    nearest_z, nearest_y, nearest_x = (
        nearest(length, new_length)
        for length, new_length in zip(volume.shape, out.shape, strict=True)
    )
    if planes is not None:
        nearest_z = planes
    width = volume.shape[2]
    at_nearest = (nearest_y[:, None] * width + nearest_x).ravel()
    at_lower = (along_y.lower.astype(np.intp)[:, None] * width + along_x.lower).ravel()

    def resample_some(first: int) -> None:
        uneven: dict[int, Mask] = {}
        for k in range(first, min(first + PLANES_AT_ONCE, len(out))):
            ends = {int(along_z.lower[k]), int(along_z.upper[k])}
            uneven = {z: uneven[z] if z in uneven else _uneven_cells(volume[z]) for z in ends}
            cells = _uneven_between(volume, uneven)
            plane = np.take(volume[nearest_z[k]].reshape(-1), at_nearest, mode="clip")
            border = np.flatnonzero(np.take(cells.reshape(-1), at_lower, mode="clip"))
            if border.size:
                y, x = np.divmod(border, out.shape[2])
                corners, weights = _corners(volume, axes, k, y, x)
                plane[border] = _winners(corners, weights, plane[border], rule)
            out[k] = plane.reshape(out.shape[1:])

    each(resample_some, range(0, len(out), PLANES_AT_ONCE))


def _uneven_between(volume: Labels, uneven: dict[int, Mask]) -> Mask:
    """The cells whose corners differ, of one plane or between two neighbouring ones."""
    (first, cells), *others = uneven.items()
    for second, cells_of_second in others:
        cells = cells | cells_of_second
        cells |= volume[first] != volume[second]
    return cells


def _uneven_cells(plane: Labels) -> Mask:
    """Whether the voxels (y, x), (y, x+1), (y+1, x), (y+1, x+1) differ, for each (y, x)."""
    across = np.zeros(plane.shape, np.bool_)
    np.not_equal(plane[:, :-1], plane[:, 1:], out=across[:, :-1])
    cells = across.copy()
    cells[:-1] |= plane[:-1] != plane[1:]
    cells[:-1] |= across[1:]
    return cells


def _corners(volume: Labels, axes: Axes, k: int, y: Indices, x: Indices) -> tuple[Labels, Weights]:
    """Labels and weights of the voxels around the new voxels (k, y, x): each (corners, n)."""
    along_z, along_y, along_x = axes
    width = volume.shape[2]
    z_ends = [(along_z.lower[k], along_z.lower_weight[k])]
    if along_z.upper_weight[k] > 0:
        z_ends.append((along_z.upper[k], along_z.upper_weight[k]))
    rows = ((along_y.lower, along_y.lower_weight), (along_y.upper, along_y.upper_weight))
    columns = ((along_x.lower, along_x.lower_weight), (along_x.upper, along_x.upper_weight))
    corners = np.empty((4 * len(z_ends), len(y)), volume.dtype)
    weights = np.empty(corners.shape)
    corner = 0
    for z, z_weight in z_ends:
        plane = volume[z].reshape(-1)
        for row, row_weight in rows:
            start, zy_weight = row[y] * width, z_weight * row_weight[y]
            for column, column_weight in columns:
                np.take(plane, start + column[x], out=corners[corner], mode="clip")
                np.multiply(zy_weight, column_weight[x], out=weights[corner])
                corner += 1
    return corners, weights


def _winners(corners: Labels, weights: Weights, nearest_label: Labels, rule: LabelRule) -> Labels:
    """Which label wins at each of n voxels, given its corners' labels and weights."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    is_high = corners == high
    more = ~(is_high | (corners == low)).all(axis=0)
    high_score, low_score = _scores(is_high, weights), _scores(~is_high, weights)
    if rule == "threshold":
        winner = np.where(high_score >= 0.5, high, np.where(low_score >= 0.5, low, 0))
    else:
        by_score = np.where(high_score > low_score, high, low)
        winner = np.where(high_score == low_score, nearest_label, by_score)
    winner = winner.astype(corners.dtype, copy=False)
    if more.any():
        winner[more] = _winners_among_many(
            corners[:, more], weights[:, more], nearest_label[more], rule
        )
    return winner


def _winners_among_many(
    corners: Labels, weights: Weights, nearest_label: Labels, rule: LabelRule
) -> Labels:
    ascending = np.sort(corners, axis=0)
    winner = np.zeros_like(nearest_label)
    best = np.full(nearest_label.shape, 0.5 if rule == "threshold" else 0.0)
    nearest_score = _scores(corners == nearest_label, weights)
    for label in ascending:
        score = _scores(corners == label, weights)
        if rule == "threshold":
            np.copyto(winner, label, where=score >= best)
        else:
            np.copyto(winner, label, where=score > best)
            np.maximum(best, score, out=best)
    if rule == "argmax":
        np.copyto(winner, nearest_label, where=nearest_score == best)
    return winner


def _scores(is_label: Mask, weights: Weights) -> Weights:
    """The interpolated indicator of a label, added up corner by corner as scipy does."""
    score = np.zeros(weights.shape[1])
    for mask, weight in zip(is_label, weights, strict=True):
        score += mask * weight
    return score


def _resample_by_splines(volume: Labels, out: Labels, order: int, rule: LabelRule) -> None:
    """Any order by resampling the indicator of each label: slow, and hardly ever used."""
    best = np.zeros(out.shape)
    nearest_label = np.empty(out.shape, volume.dtype)
    _resample_to_nearest(volume, nearest_label, nearest(volume.shape[0], out.shape[0]))
    nearest_score = np.zeros(out.shape)
    winner = np.zeros(out.shape, volume.dtype)
    for label in np.unique(volume):
        score = np.clip(zoomed((volume == label).astype(np.float64), out.shape, order), 0, 1)
        np.copyto(nearest_score, score, where=nearest_label == label)
        if rule == "threshold":
            winner[score >= 0.5] = label
        else:
            winner[score > best] = label
            np.maximum(best, score, out=best)
    if rule == "argmax":
        np.copyto(winner, nearest_label, where=nearest_score == best)
    out[...] = winner


def _across_planes(volume: Labels, out: Labels, order: int) -> None:
    """The largest label whose indicator along the first axis passes 0.5, and 0 without one."""
    out[...] = 0
    for label in np.unique(volume):
        score = zoomed((volume == label).astype(np.float64), out.shape, order)
        out[np.round(score) > 0.5] = label
