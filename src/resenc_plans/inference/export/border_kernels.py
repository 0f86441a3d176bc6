"""The compiled loops of export by borders: winners, agreement, and interpolation at borders."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from resenc_plans.execution.compiled import compiled
from resenc_plans.inference.export.float_bits import decoded, ordered, rounded, value_of
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

Array = npt.NDArray[Any]

TILE = 2048
"""Voxels that are searched head by head: what is known of them stays in the fastest cache."""

BATCH = 512
"""Border voxels that are interpolated head by head."""

CLOSE = 8
"""A head that leads by no more units of the last place may tie after rounding."""

SLACK = 1e-12
"""By rounding, a mean of doubles may be larger than the largest of them, relatively."""


class Winners(NamedTuple):
    """Which heads win in an old plane; a tile is `TILE` consecutive voxels of it."""

    heads: Array
    """(y, x): the largest head at each voxel; with regions one more than the last positive head,
    and 0 without one."""
    wins: Array
    """(heads, tiles): whether a head wins (with regions: is positive) anywhere in a tile."""
    peaks: Array
    """(heads, tiles): the largest value of a head, as an `ordered` integer; not with regions."""


class OldPlane(NamedTuple):
    """One of the two old planes around a new one."""

    position: int
    """Of the plane in the logits that are in memory."""
    weight: float
    """Of its voxels in the new plane."""
    winners: Winners


class NewPlane(NamedTuple):
    """Where a plane of the new grid lies in the old one."""

    lower: OldPlane
    upper: OldPlane
    rows: AxisSampling
    columns: AxisSampling


class Comparison(NamedTuple):
    """How interpolated logits become a label."""

    by_region: bool
    """Whether the last positive head wins; else the largest."""
    size: int
    """Bytes of the float that values are rounded to first."""
    half_values: Array
    """`HALF_VALUES`, which compiled code is handed."""


@compiled
def largest_heads(bits: Array, plane: int, doubt: int, winners: Winners) -> None:
    """Find the head with the largest value at each voxel of a plane, the first of equals.

    `bits` are logits (heads, z, y, x) as integers. `doubt` is written where an earlier head comes
    close, unless it is negative. Let the winner have the value a and lead over an earlier head by
    d, at every corner of a cell. A lead of more than CLOSE units is d > 4 |a| u, u being the most
    that rounding changes a value by, relatively. In a mean of the corners the lead is then more
    than 4 u |mean(a)|: too much for both to be rounded to the same value. Later heads lose ties
    anyway.
    """
    out, wins, peaks = winners.heads, winners.wins, winners.peaks
    heads = bits.shape[0]
    flat = bits.reshape((heads, bits.shape[1], bits.shape[2] * bits.shape[3]))
    target = out.reshape(out.size)
    best = np.empty(TILE, bits.dtype)
    before = np.empty(TILE, bits.dtype)
    head = np.empty(TILE, np.int16)
    for tile in range(wins.shape[1]):
        start = tile * TILE
        count = min(TILE, out.size - start)
        for i in range(count):
            best[i] = ordered(flat[0, plane, start + i])
            before[i] = best[i]
            head[i] = 0
        wins[:, tile] = False
        peaks[0, tile] = best[:count].max()
        for h in range(1, heads):
            source = flat[h, plane, start : start + count]
            peaks[h, tile] = _take_larger(source, np.int16(h), best, before, head)
        for i in range(count):
            wins[head[i], tile] = True
            close = np.int64(best[i]) - np.int64(before[i]) <= CLOSE
            target[start + i] = doubt if doubt >= 0 and head[i] > 0 and close else head[i]


@compiled
def _take_larger(source: Array, h: Any, best: Array, before: Array, head: Array) -> Any:
    """Let head `h` take the voxels where it is larger; its largest value."""
    peak = ordered(source[0])
    for i in range(len(source)):
        key = ordered(source[i])
        peak = key if key > peak else peak
        so_far, earlier, leader = best[i], before[i], head[i]
        better = key > so_far
        before[i] = so_far if better else earlier
        head[i] = h if better else leader
        best[i] = key if better else so_far
    return peak


@compiled
def last_positive_heads(bits: Array, plane: int, infinity: int, winners: Winners) -> None:
    """Find one more than the last head whose value is above zero, at each voxel of a plane; else 0.

    Read as integers, floats above zero are so too; those beyond `infinity` are NaN.
    """
    out, wins = winners.heads, winners.wins
    heads = bits.shape[0]
    flat = bits.reshape((heads, bits.shape[1], bits.shape[2] * bits.shape[3]))
    target = out.reshape(out.size)
    target[:] = 0
    for tile in range(wins.shape[1]):
        start = tile * TILE
        count = min(TILE, out.size - start)
        for h in range(heads):
            source = flat[h, plane, start : start + count]
            any_positive = False
            for i in range(count):
                positive = (source[i] > 0) & (source[i] <= infinity)
                any_positive |= positive
                target[start + i] = h + 1 if positive else target[start + i]
            wins[h, tile] = any_positive


@compiled
def copy_agreed(plane: NewPlane, doubt: int, out: Array, border: Array) -> int:
    """Fill a new plane where the corners agree; elsewhere note the position in `border`.

    Parameters
    ----------
    plane
        The new plane among the old ones.
    doubt
        A winner that agrees with none, not even with itself.
    out
        The new plane (y, x).
    border
        Positions in the flat new plane, with room for all of them.

    Returns
    -------
    The number of positions noted.
    """
    lower, upper = plane.lower.winners.heads, plane.upper.winners.heads
    above, below = plane.rows.lower, plane.rows.upper
    before, after = plane.columns.lower, plane.columns.upper
    agreed = np.empty(lower.shape[1], lower.dtype)
    noted = 0
    for y in range(out.shape[0]):
        y0, y1 = above[y], below[y]
        if y == 0 or y0 != above[y - 1] or y1 != below[y - 1]:
            for x in range(lower.shape[1]):
                one = lower[y0, x]
                same = (one == lower[y1, x]) & (one == upper[y0, x]) & (one == upper[y1, x])
                agreed[x] = one if same else doubt
        for x in range(out.shape[1]):
            left, right = agreed[before[x]], agreed[after[x]]
            out[y, x] = left
            border[noted] = y * out.shape[1] + x
            noted += (left != right) | (left == doubt)
    return noted


@compiled
def interpolate_border(
    bits: Array, plane: NewPlane, comparison: Comparison, border: Array, out: Array
) -> None:
    """Interpolate heads at the positions in `border`, and write the winners to `out` (y, x).

    Products and sums are taken in scipy's order, so that ties and rounding fall as they do in
    nnU-Net. Heads that win nearby are interpolated first; another one only where its peak reaches
    the smallest of their interpolated values, since a mean is no larger than the largest of its
    corners. With regions, a head that is positive at no corner is not positive in between.
    """
    lower_plane, upper_plane, rows, columns = plane
    by_region, size, half_values = comparison
    heads, width = bits.shape[0], bits.shape[3]
    flat = bits.reshape((heads, bits.shape[1], bits.shape[2] * width))
    target = out.reshape(out.size)
    at = np.empty((4, BATCH), np.uint32)
    along_y = np.empty((2, BATCH), np.float64)
    along_x = np.empty((2, BATCH), np.float64)
    best = np.empty(BATCH, np.float64)
    winner = np.empty(BATCH, np.int32)
    for start in range(0, len(border), BATCH):
        count = min(BATCH, len(border) - start)
        for n in range(count):
            y, x = border[start + n] // out.shape[1], border[start + n] % out.shape[1]
            winner[n] = 0
            best[n] = -np.inf
            along_y[0, n], along_y[1, n] = rows.lower_weight[y], rows.upper_weight[y]
            along_x[0, n], along_x[1, n] = columns.lower_weight[x], columns.upper_weight[x]
            at[0, n] = rows.lower[y] * width + columns.lower[x]
            at[1, n] = rows.lower[y] * width + columns.upper[x]
            at[2, n] = rows.upper[y] * width + columns.lower[x]
            at[3, n] = rows.upper[y] * width + columns.upper[x]
        tiles = slice(at[0, :count].min() // TILE, at[3, :count].max() // TILE + 1)
        for others in range(1 if by_region else 2):
            floor = best[:count].min() if others else 0.0
            for h in range(heads):
                is_near = (
                    lower_plane.winners.wins[h, tiles].any()
                    or upper_plane.winners.wins[h, tiles].any()
                )
                if others:
                    lower_peak = value_of(lower_plane.winners.peaks[h, tiles].max(), half_values)
                    upper_peak = value_of(upper_plane.winners.peaks[h, tiles].max(), half_values)
                    if is_near or max(lower_peak, upper_peak) < floor - SLACK * abs(floor):
                        continue
                elif not is_near:
                    continue
                lower, upper = flat[h, lower_plane.position], flat[h, upper_plane.position]
                for n in range(count):
                    value = 0.0
                    for c in range(4):
                        weighted = decoded(lower[at[c, n]], half_values) * lower_plane.weight
                        value += weighted * along_y[c >> 1, n] * along_x[c & 1, n]
                    if upper_plane.weight > 0:
                        for c in range(4):
                            weighted = decoded(upper[at[c, n]], half_values) * upper_plane.weight
                            value += weighted * along_y[c >> 1, n] * along_x[c & 1, n]
                    value = rounded(value, size)
                    if by_region:
                        winner[n] = h + 1 if value > 0 else winner[n]
                    else:
                        better = value > best[n] or (value == best[n] and h < winner[n])
                        best[n] = value if better else best[n]
                        winner[n] = h if better else winner[n]
        for n in range(count):
            target[border[start + n]] = winner[n]
