"""Labels from logits by linear interpolation: comparisons nearly everywhere, arithmetic at borders.

The package's docstring explains the method. Neither all heads nor even one is ever held on the new
grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resenc_plans.execution.threads import plane_threads
from resenc_plans.inference.export.border_kernels import (
    TILE,
    Comparison,
    NewPlane,
    OldPlane,
    Winners,
    copy_agreed,
    interpolate_border,
    largest_heads,
    last_positive_heads,
)
from resenc_plans.inference.export.float_bits import HALF_VALUES, as_bits, infinity_bits
from resenc_plans.inference.export.interpolation import Array, Logits
from resenc_plans.inference.export.planes import PlaneReader, planes_at_once, windows
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

NO_DOUBT = -1


@dataclass(frozen=True, eq=False)
class Slab:
    """Neighbouring old planes in memory, and which heads win in them."""

    bits: Array
    """(heads, planes, y, x), floats as integers; the slab begins at plane `offset`."""
    offset: int
    start: int
    """Index of the slab's first plane among all."""
    winners: Winners
    """Each array with a first axis for the slab's planes."""

    def winners_of(self, plane: int) -> Winners:
        """The winners of one of its planes."""
        return Winners(*(array[plane] for array in self.winners))

    def old_plane(self, z: int, weight: float) -> OldPlane:
        """Plane `z` of the old grid, with its weight in a new plane."""
        plane = z - self.start
        return OldPlane(self.offset + plane, weight, self.winners_of(plane))


@dataclass(frozen=True, eq=False)
class BorderExport:
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
        tiles = -(-height * width // TILE)
        winners = Winners(
            np.empty((planes + 1, height, width), np.uint8 if heads < 255 else np.uint16),
            np.empty((planes + 1, heads, tiles), bool),
            np.empty((planes + 1, heads, tiles), f"i{logits.dtype.itemsize}"),
        )
        doubt = NO_DOUBT if unchanged else int(np.iinfo(winners.heads.dtype).max)
        stop = count = 0
        with plane_threads(heads * length * height * width) as each:
            for window in windows(self.axes[0], length, planes):
                array, offset = reader.read(window)
                shared = int(window.start < stop)
                for known in winners:
                    known[:shared] = known[count - shared : count]
                stop, count = window.stop, window.stop - window.start
                slab = Slab(as_bits(array), offset, window.start, winners)

                def find(plane: int, slab: Slab = slab) -> None:
                    self._find_winners(slab, plane, doubt)

                def fill(z: int, slab: Slab = slab) -> None:
                    winner = (
                        slab.winners.heads[z - slab.start]
                        if unchanged
                        else self._interpolated_winners(z, slab, doubt)
                    )
                    out[z] = winner if self.paint is None else np.take(self.paint, winner)

                each(find, range(shared, count))
                each(fill, window.new)

    def _find_winners(self, slab: Slab, plane: int, doubt: int) -> None:
        index, winners = slab.offset + plane, slab.winners_of(plane)
        if self.paint is not None:
            last_positive_heads(slab.bits, index, infinity_bits(slab.bits), winners)
        else:
            largest_heads(slab.bits, index, doubt, winners)

    def _interpolated_winners(self, z: int, slab: Slab, doubt: int) -> Array:
        """The winners in plane `z` of the new grid."""
        along_z, rows, columns = self.axes
        plane = NewPlane(
            slab.old_plane(int(along_z.lower[z]), float(along_z.lower_weight[z])),
            slab.old_plane(int(along_z.upper[z]), float(along_z.upper_weight[z])),
            rows,
            columns,
        )
        result = np.empty((rows.lower.size, columns.lower.size), slab.winners.heads.dtype)
        border = np.empty(result.size + 1, np.int32)
        count = copy_agreed(plane, doubt, result, border)
        comparison = Comparison(self.paint is not None, self.rounded_to.itemsize, HALF_VALUES)
        interpolate_border(slab.bits, plane, comparison, border[:count], result)
        return result


def export_by_borders(
    logits: Logits,
    out: Array,
    *,
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
    BorderExport((along_z, along_y, along_x), paint, rounded_to).run(logits, out)
