"""Labels from logits by linear interpolation: comparisons nearly everywhere, arithmetic at borders.

An interpolated logit is a mean of those of the (up to eight) voxels around it, with the same
weights for each head. The head that is largest at all of them is largest in between too; so one
pass over the old grid finds the winner of each voxel, and only new voxels whose corners disagree
are interpolated. With regions the same holds for the last head that is positive. Neither all heads
nor even one is ever held on the new grid.

nnU-Net rounds interpolated logits to the type they came in, often half precision, and the first of
equals wins. So an old voxel where a head leads by less than rounding could undo agrees with none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resenc_plans.execution.threads import plane_threads
from resenc_plans.inference.export.float_bits import HALF_VALUES, as_bits, infinity_bits
from resenc_plans.inference.export.interpolation import Array, Logits
from resenc_plans.inference.export.kernels import (
    TILE,
    copy_agreed,
    largest_heads,
    last_positive_heads,
    settle_border,
)
from resenc_plans.inference.export.planes import PlaneReader, planes_at_once, windows
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

NO_DOUBT = -1


@dataclass(frozen=True, eq=False)
class Slab:
    """Old planes that are at hand, and who wins in them."""

    bits: Array
    """(heads, planes, y, x), floats as integers; the slab begins at plane `offset`."""
    offset: int
    start: int
    """Index of the slab's first plane among all."""
    winners: Array
    """(planes, y, x), the slab's planes only."""
    wins: Array
    """(planes, heads, tiles): whether a head wins anywhere in a tile, see `largest_heads`."""
    peaks: Array
    """(planes, heads, tiles): the largest value of each head."""


@dataclass(frozen=True, eq=False)
class LinearExport:
    """What is known before the first plane is read."""

    axes: tuple[AxisSampling, AxisSampling, AxisSampling]
    """Where the new voxels lie among the old ones, along z, y, x."""
    paint: Array | None
    """With regions, the winner is the last head that is positive; the label for none and each.

    Without, it is the largest head.
    """
    rounded_to: np.dtype[Any]
    """The type to which interpolated logits are rounded before they are compared."""

    def run(self, logits: Logits, out: Array) -> None:
        """Write the label of each voxel of the new grid to `out` (z, y, x), of any strides."""
        heads, length, height, width = logits.shape
        unchanged = out.shape == (length, height, width)
        planes = planes_at_once(logits)
        reader = PlaneReader(logits, planes)
        winners = np.empty((planes + 1, height, width), np.uint8 if heads < 255 else np.uint16)
        tiles = -(-height * width // TILE)
        keys = np.dtype(f"i{logits.dtype.itemsize}")
        wins = np.empty((planes + 1, heads, tiles), bool)
        peaks = np.empty((planes + 1, heads, tiles), keys)
        doubt = NO_DOUBT if unchanged else int(np.iinfo(winners.dtype).max)
        stop = count = 0
        with plane_threads(heads * length * height * width) as each:
            for window in windows(self.axes[0], length, planes):
                array, offset = reader.read(window)
                shared = int(window.start < stop)
                for known in (winners, wins, peaks):
                    known[:shared] = known[count - shared : count]
                stop, count = window.stop, window.stop - window.start
                slab = Slab(as_bits(array), offset, window.start, winners, wins, peaks)

                def find(plane: int, slab: Slab = slab) -> None:
                    self._find_winners(slab, plane, doubt)

                def fill(z: int, slab: Slab = slab) -> None:
                    winner = slab.winners[z - slab.start] if unchanged else self._at(z, slab, doubt)
                    out[z] = winner if self.paint is None else np.take(self.paint, winner)

                each(find, range(shared, count))
                each(fill, window.new)

    def _find_winners(self, slab: Slab, plane: int, doubt: int) -> None:
        at, winners, wins = slab.offset + plane, slab.winners[plane], slab.wins[plane]
        if self.paint is not None:
            last_positive_heads(slab.bits, at, infinity_bits(slab.bits), winners, wins)
        else:
            largest_heads(slab.bits, at, doubt, winners, wins, slab.peaks[plane])

    def _at(self, z: int, slab: Slab, doubt: int) -> Array:
        """The winners in plane `z` of the new grid."""
        along_z, along_y, along_x = self.axes
        lower, upper = int(along_z.lower[z]) - slab.start, int(along_z.upper[z]) - slab.start
        rows, columns = (along_y.lower, along_y.upper), (along_x.lower, along_x.upper)
        result = np.empty((len(along_y), len(along_x)), slab.winners.dtype)
        border = np.empty(result.size + 1, np.int32)
        found = copy_agreed(
            slab.winners[lower], slab.winners[upper], doubt, rows, columns, result, border
        )
        settle_border(
            slab.bits,
            (slab.offset + lower, slab.offset + upper),
            (along_z.lower_weight[z], along_z.upper_weight[z]),
            rows,
            (along_y.lower_weight, along_y.upper_weight),
            columns,
            (along_x.lower_weight, along_x.upper_weight),
            HALF_VALUES,
            self.rounded_to.itemsize,
            self.paint is not None,
            (slab.wins[lower], slab.wins[upper]),
            (slab.peaks[lower], slab.peaks[upper]),
            border[:found],
            result,
        )
        return result


def linear_export(
    logits: Logits,
    out: Array,
    orders: Sequence[int],
    rounded_to: np.dtype[Any],
    regions: Sequence[int] | None,
) -> None:
    """Write the labels of logits (heads, z, y, x) to `out` (z, y, x), of another shape or the same.

    `orders` are 0 (nearest) or 1 (linear) for each axis; logits are rounded to `rounded_to` before
    they are compared; `regions` are the labels of heads, if heads are regions.
    """
    shape = logits.shape[1:]
    along_z, along_y, along_x = (
        AxisSampling.of(length, new_length, order)
        for length, new_length, order in zip(shape, out.shape, orders, strict=True)
    )
    paint = None if regions is None else np.array([0, *regions], out.dtype)
    LinearExport((along_z, along_y, along_x), paint, rounded_to).run(logits, out)
