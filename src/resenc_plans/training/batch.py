"""What a training or validation step is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Patches of one iteration on one device, b of them."""

    images: Tensor
    """(b, c, *patch), float32."""
    targets: tuple[Tensor, ...]
    """Highest resolution first, one per output of the network: labels (b, 1, *shape) int16; with
    regions (b, regions, *shape) bool, the ignore label (where there is one) in the last channel."""
    cases: tuple[str, ...]
    """Name of the case that each patch is from."""

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU need not wait."""
        pinned = tuple(target.pin_memory() for target in self.targets)
        return Batch(self.images.pin_memory(), pinned, self.cases)


class Batches(Protocol):
    """What a trainer takes: numbered batches. Any object with this method will do."""

    def batches(self, first: int, count: int) -> Iterator[Batch]:
        """The batches number `first`, `first + 1`, … `first + count - 1`.

        A batch depends on its number alone, not on what was asked before, so that a training
        that is taken up again sees the batches that it would have seen.
        """
        ...
