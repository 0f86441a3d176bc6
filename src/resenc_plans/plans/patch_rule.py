"""`PatchRule`: the patch sizes that a network takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class PatchRule:
    """What a network asks of its patch.

    The size is a multiple of `multiples`, axis by axis. The feature maps of the lowest resolution,
    as many times smaller, keep at least `lowest_voxels`: instance normalisation refuses a single
    voxel, and what normalises each channel of a sample alone makes a constant of it. A network with
    parameters for its patch takes `only` that.

    >>> PatchRule((32, 32, 32), lowest_voxels=2).nearest((32, 32, 40))
    (32, 32, 64)
    """

    multiples: tuple[int, ...]
    lowest_voxels: int = 1
    only: tuple[int, ...] | None = None

    def divides(self, patch_size: Sequence[int]) -> bool:
        """Whether the size is a multiple on every axis."""
        return not any(size % step for size, step in zip(patch_size, self.multiples, strict=True))

    def fault(self, patch_size: Sequence[int]) -> str | None:
        """What the network has against the size, to follow its name in a message; None: nothing."""
        nearest = list(self.nearest(patch_size))
        if self.only is not None and tuple(patch_size) != self.only:
            return (
                f"is not {nearest}, for which the network is made (its argument patch_size). "
                f"The nearest that it takes: {nearest}."
            )
        if not self.divides(patch_size):
            return (
                f"is not a multiple of {list(self.multiples)}, by which the network divides it. "
                f"The nearest that it takes: {nearest}."
            )
        if self._lowest_voxels(patch_size) < self.lowest_voxels:
            return (
                "is too small: the lowest stage has one voxel, which the network's normalisation "
                f"refuses in training. The nearest that it takes: {nearest}."
            )
        return None

    def nearest(self, patch_size: Sequence[int]) -> tuple[int, ...]:
        """The size of the rule that is nearest, the sum over the axes; of several, the last axis's.

        >>> PatchRule((4, 4)).nearest((5, 15))
        (4, 16)
        """
        if self.only is not None:
            return self.only
        size = [
            max(1, round(length / step)) * step
            for length, step in zip(patch_size, self.multiples, strict=True)
        ]
        if self._lowest_voxels(size) >= self.lowest_voxels:
            return tuple(size)
        axes = range(len(size))
        axis = min(
            reversed(axes),
            key=lambda axis: abs(size[axis] + self.multiples[axis] - patch_size[axis]),
        )
        while self._lowest_voxels(size) < self.lowest_voxels:
            size[axis] += self.multiples[axis]
        return tuple(size)

    def _lowest_voxels(self, patch_size: Sequence[int]) -> int:
        return prod(size // step for size, step in zip(patch_size, self.multiples, strict=True))
