"""Labels from logits that lie on a GPU, by the method of `borders`: only labels leave the device.

Winners, doubts and interpolated values are those of the compiled loops, bit for bit: products and
sums are operators of their own, which nothing contracts, in scipy's order and in double precision.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resenc_plans.inference.export.border_kernels import CLOSE
from resenc_plans.inference.export.case import ExportRecipe, LabelMap, cropped_shape
from resenc_plans.inference.export.float_bits import (
    DOUBLE,
    DROPPED,
    HALF_OF_DROPPED,
    SINGLE,
    SMALLEST_NORMAL,
    UNIT_AT_SUBNORMALS,
)
from resenc_plans.networks.device import is_out_of_memory, release_memory
from resenc_plans.preprocessing.resampling.sampling import AxisSampling

BYTES_AT_ONCE = 256 << 20
"""About as much is held beside the logits and the labels."""
MIN_BYTES_AT_ONCE = 4 << 20
"""Where not even this fits, the logits are exported on the host."""
BYTES_PER_VOXEL = 64
"""Of the winners of a plane while they are being found."""
BYTES_PER_CORNER = 48
"""Of a head at a border voxel while it is being interpolated."""

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_DOUBT = -1


def has_doubles(device: torch.device) -> bool:
    """Whether a device computes in double precision, without which labels would differ."""
    return device.type != "mps"


def labels_within_memory(
    logits: Tensor, properties: Mapping[str, Any], recipe: ExportRecipe
) -> LabelMap | None:
    """The labels of a case within the box that it was cropped to.

    None where the device has too little memory for any part, or the interpolation is not linear.
    """
    shape = cropped_shape(properties)
    if not recipe.interpolation.is_linear and tuple(logits.shape[1:]) != shape:
        return None
    spacing, image_spacing = recipe.spacings(properties)
    orders = recipe.interpolation.orders(spacing, image_spacing)
    lengths = zip(logits.shape[1:], shape, orders, strict=True)
    axes = tuple(AxisSampling.of(*of_axis) for of_axis in lengths)
    kind = np.empty(0, f"f{logits.dtype.itemsize}").dtype
    size = recipe.interpolation.result_type(kind).itemsize
    at_once = BYTES_AT_ONCE
    while at_once >= MIN_BYTES_AT_ONCE:
        try:
            export = DeviceExport(logits, axes, recipe.regions, size, at_once)
            return export.labels().cpu().numpy().astype(recipe.dtype, copy=False)
        except RuntimeError as error:  # what the attempt held is freed when this block ends
            if not is_out_of_memory(error):
                raise
            at_once //= 4
        release_memory(logits.device)
    return None


@dataclass(frozen=True, eq=False)
class DeviceExport:
    """Logits (heads, z, y, x) and the grid of their labels."""

    logits: Tensor
    axes: tuple[AxisSampling, ...]
    """Where the new voxels lie among the old ones, along z, y, x."""
    regions: tuple[int, ...] | None
    """The label of each head where heads are regions; the last positive one wins."""
    size: int
    """Bytes of the float that interpolated logits are rounded to."""
    bytes_at_once: int = BYTES_AT_ONCE

    def labels(self) -> Tensor:
        """Labels (z, y, x) on the device, uint8 or int16, by parts."""
        shape = tuple(axis.lower.size for axis in self.axes)
        unchanged = shape == tuple(self.logits.shape[1:])
        slabs = self._old_slabs()
        winners = torch.cat([self._winners(slab, unchanged=unchanged) for slab in slabs])
        if unchanged:
            return self._painted(winners)
        planes = max(1, self.bytes_at_once // (BYTES_PER_VOXEL * prod(shape[1:])))
        parts = [
            self._painted(self._between(winners, start, min(start + planes, shape[0])))
            for start in range(0, shape[0], planes)
        ]
        return torch.cat(parts)

    def _old_slabs(self) -> Iterator[Tensor]:
        length, *plane = self.logits.shape[1:]
        planes = max(1, self.bytes_at_once // (BYTES_PER_VOXEL * prod(plane)))
        for start in range(0, length, planes):
            yield self.logits[:, start : start + planes]

    def _winners(self, logits: Tensor, *, unchanged: bool) -> Tensor:
        """The winning head of each voxel, or one more than the last positive region's.

        `_DOUBT` where rounding may let an earlier head win between voxels.
        """
        shape, device = logits.shape[1:], logits.device
        if self.regions is not None:
            last = torch.zeros(shape, dtype=torch.int16, device=device)
            for number, values in enumerate(logits, 1):
                last = torch.where(values > 0, number, last)
            return last
        best = _ordered(logits[0])
        before = best
        head = torch.zeros(shape, dtype=torch.int16, device=device)
        for number, values in enumerate(logits[1:], 1):
            keys = _ordered(values)
            is_better = keys > best
            before = torch.where(is_better, best, before)
            head = torch.where(is_better, number, head)
            best = torch.where(is_better, keys, best)
        if unchanged:
            return head
        close = best.long() - before.long() <= CLOSE
        return torch.where((head > 0) & close, _DOUBT, head)

    def _between(self, winners: Tensor, start: int, stop: int) -> Tensor:
        """The winners in new planes."""
        along_z, rows, columns = self.axes
        device = winners.device
        ends = [
            [_moved(axis.lower[part], device).long(), _moved(axis.upper[part], device).long()]
            for axis, part in (
                (along_z, slice(start, stop)),
                (rows, slice(None)),
                (columns, slice(None)),
            )
        ]
        result: Tensor | None = None
        agreed: Tensor | None = None
        for z in ends[0]:
            slab = winners.index_select(0, z)
            for y in ends[1]:
                lines = slab.index_select(1, y)
                for x in ends[2]:
                    corner = lines.index_select(2, x)
                    if result is None or agreed is None:
                        result, agreed = corner, corner != _DOUBT
                    else:
                        agreed &= corner == result
        assert result is not None
        assert agreed is not None
        border = (~agreed).flatten().nonzero().flatten()
        flat = result.flatten()
        at_once = self.bytes_at_once // (BYTES_PER_CORNER * len(self.logits))
        for part in torch.split(border, max(1, at_once)):
            flat[part] = self._interpolated(part, start, result.shape[1:])
        return flat.view(result.shape)

    def _interpolated(self, at: Tensor, start: int, plane: Sequence[int]) -> Tensor:
        """The winners at positions in the new planes from `start` on, flat."""
        height, width = plane
        position = at // (height * width) + start, at // width % height, at % width
        lower, upper, lower_weight, upper_weight = (
            [
                _moved(table, at.device).index_select(0, along)
                for table, along in zip(tables, position, strict=True)
            ]
            for tables in zip(*self.axes, strict=True)
        )
        values = torch.zeros((), dtype=torch.float64, device=at.device)
        for is_upper in (False, True):
            z = (upper if is_upper else lower)[0].long()
            weight = (upper_weight if is_upper else lower_weight)[0]
            summed = values
            for corner in range(4):
                row, column = corner >> 1, corner & 1
                y = (upper if row else lower)[1].long()
                x = (upper if column else lower)[2].long()
                weighted = self.logits[:, z, y, x].double() * weight
                weighted = weighted * (upper_weight if row else lower_weight)[1]
                summed = summed + weighted * (upper_weight if column else lower_weight)[2]
            values = torch.where(weight > 0, summed, values) if is_upper else summed
        is_nan = values.isnan()  # before rounding, which may make a number of it
        values = _rounded(values, self.size)
        heads = torch.arange(len(values), dtype=torch.int16, device=at.device)[:, None]
        if self.regions is not None:
            return torch.where(values > 0, heads + 1, 0).amax(0)
        values = torch.where(is_nan, -torch.inf, values)
        first = torch.where(values == values.amax(0), heads, torch.iinfo(heads.dtype).max)
        return first.amin(0)

    def _painted(self, winners: Tensor) -> Tensor:
        if self.regions is None:
            labels, largest = winners, len(self.logits) - 1
        else:
            paint = np.array([0, *self.regions], np.int16)
            labels = _moved(paint, winners.device)[winners.long()]
            largest = max(self.regions, default=0)
        return labels.to(torch.uint8) if largest < 256 else labels


def _ordered(values: Tensor) -> Tensor:
    """Integers that rise with the values; see `float_bits.ordered`."""
    kind = _INTEGERS[values.dtype.itemsize]
    bits = values.contiguous().view(kind)
    magnitude = torch.iinfo(kind).max
    inverted = torch.where(bits < 0, bits ^ magnitude, bits)
    return inverted + (inverted == -1).to(kind)


def _rounded(values: Tensor, size: int) -> Tensor:
    """Doubles rounded to the float of `size` bytes; see `float_bits.rounded`."""
    if size == DOUBLE:
        return values
    if size == SINGLE:
        return values.float().double()
    small = (values + UNIT_AT_SUBNORMALS) - UNIT_AT_SUBNORMALS
    bits = values.view(torch.int64)
    bits = bits + (HALF_OF_DROPPED + ((bits >> DROPPED) & 1))
    normal = ((bits >> DROPPED) << DROPPED).view(torch.float64)
    return torch.where(values.abs() < SMALLEST_NORMAL, small, normal)


def _moved(table: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(table)).to(device)
