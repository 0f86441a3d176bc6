"""One head after the other on the image's grid, plane by plane."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from resenc_plans.execution.compiled import compiled
from resenc_plans.execution.threads import plane_threads
from resenc_plans.inference.export.float_bits import rounded
from resenc_plans.inference.export.interpolation import Array, Interpolation, Logits
from resenc_plans.inference.export.planes import PlaneReader, planes_at_once, windows
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

UsePlane = Callable[[int, npt.NDArray[np.float32]], None]


@dataclass(frozen=True, eq=False)
class OneHead:
    """A head of logits, read where it is sliced."""

    logits: Logits
    head: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, z, y, x)."""
        return (1, *self.logits.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of all heads."""
        return self.logits.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks in a store, if it is one."""
        return getattr(self.logits, "chunks", None)

    def __getitem__(self, key: tuple[Any, ...]) -> Array:
        """The part within slices."""
        return np.asarray(self.logits[(slice(self.head, self.head + 1), *key[1:])])


class PlanePair(NamedTuple):
    """The two old planes (y, x) around a new one, and their weights in it."""

    lower: Array
    upper: Array
    lower_weight: float
    upper_weight: float


@dataclass(frozen=True)
class ResampledHeads:
    """Logits as nnU-Net has them before it takes softmax or sigmoid."""

    logits: Logits
    shape: tuple[int, ...]
    """The new (z, y, x)."""
    interpolation: Interpolation
    spacing: Sequence[float]
    new_spacing: Sequence[float]

    def each_plane(self, head: int, use: UsePlane) -> None:
        """Call `use(z, plane)` for all new planes of a head, in any order and on several threads.

        A plane (y, x) is float32; it may be changed.
        """
        if tuple(self.logits.shape[1:]) == self.shape or self.interpolation.is_linear:
            self._linearly(head, use)
        else:
            self._by_function(head, use)

    def _by_function(self, head: int, use: UsePlane) -> None:
        source = np.asarray(self.logits[head : head + 1])
        values = self.interpolation.function()(
            source, self.shape, spacing=self.spacing, new_spacing=self.new_spacing
        )
        compared = self.interpolation.result_type(self.logits.dtype)
        for z, plane in enumerate(values[0]):
            use(z, plane.astype(compared).astype(np.float32, copy=False))

    def _linearly(self, head: int, use: UsePlane) -> None:
        _, length, height, width = self.logits.shape
        source: Logits = (
            self.logits[head : head + 1]
            if isinstance(self.logits, np.ndarray)
            else OneHead(self.logits, head)
        )
        orders = self.interpolation.orders(self.spacing, self.new_spacing)
        along_z, along_y, along_x = (
            AxisSampling.of(old, new, order)
            for old, new, order in zip((length, height, width), self.shape, orders, strict=True)
        )
        size = self.interpolation.result_type(self.logits.dtype).itemsize
        planes = planes_at_once(source)
        reader = PlaneReader(source, planes)
        with plane_threads(max(length * height * width, int(np.prod(self.shape)))) as each:
            for window in windows(along_z, length, planes):
                array, offset = reader.read(window)

                def interpolate(
                    z: int, volume: Array = array[0], first: int = offset - window.start
                ) -> None:
                    lower = _floats(volume[first + along_z.lower[z]])
                    upper = lower
                    if along_z.upper[z] != along_z.lower[z]:
                        upper = _floats(volume[first + along_z.upper[z]])
                    weights = float(along_z.lower_weight[z]), float(along_z.upper_weight[z])
                    plane = np.empty(self.shape[1:], np.float32)
                    interpolate_plane(
                        PlanePair(lower, upper, *weights), along_y, along_x, size, plane
                    )
                    use(z, plane)

                each(interpolate, window.new)


def _floats(plane: Array) -> Array:
    """A plane in a type that compiled code calculates with."""
    return np.asarray(plane, np.float64 if plane.dtype == np.float64 else np.float32, order="C")


@compiled
def interpolate_plane(
    planes: PlanePair, rows: AxisSampling, columns: AxisSampling, size: int, out: Array
) -> None:
    """A new plane (y, x) between two old ones, rounded to the float of `size` bytes.

    Products and sums are taken in scipy's order, so that rounding falls as it does in nnU-Net.
    """
    sources = planes.lower, planes.upper
    plane_weights = planes.lower_weight, planes.upper_weight
    row_ends = rows.lower, rows.upper
    row_weights = rows.lower_weight, rows.upper_weight
    corners = 4 if planes.upper_weight > 0 else 2
    weighted = np.empty((4, planes.lower.shape[1]), np.float64)
    for y in range(out.shape[0]):
        for corner in range(corners):
            across, within = corner >> 1, corner & 1
            source, row = sources[across], row_ends[within][y]
            plane_weight, row_weight = plane_weights[across], row_weights[within][y]
            for x in range(weighted.shape[1]):
                weighted[corner, x] = source[row, x] * plane_weight * row_weight
        for x in range(out.shape[1]):
            left, right = columns.lower[x], columns.upper[x]
            value = 0.0
            for corner in range(corners):
                value += weighted[corner, left] * columns.lower_weight[x]
                value += weighted[corner, right] * columns.upper_weight[x]
            out[y, x] = rounded(value, size)
