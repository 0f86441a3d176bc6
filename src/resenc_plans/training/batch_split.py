"""How a batch is split over ranks: nnU-Net's `_set_batch_size_and_oversample`."""

from dataclasses import dataclass

from resenc_plans.errors import ConfigurationError


@dataclass(frozen=True)
class RankShare:
    """The samples of the global batch that one rank works on."""

    first: int
    size: int
    foreground: int
    """How many of this rank's samples, the last ones, show foreground for certain."""

    @property
    def first_foreground(self) -> int:
        """The first of this rank's samples, counted from 0, that shows foreground for certain."""
        return self.size - self.foreground


def split_batch(batch_size: int, world: int, foreground_share: float) -> tuple[RankShare, ...]:
    """The share of each rank; those of lower rank get what is left over.

    `foreground_share` is that of the global batch, whose last samples show foreground.

    >>> [(share.size, share.first_foreground) for share in split_batch(5, 2, 0.33)]
    [(3, 3), (2, 0)]

    Raises
    ------
    ConfigurationError
        There are fewer samples than ranks.
    """
    if batch_size < world:
        raise ConfigurationError(
            f"A batch of {batch_size} cannot be split over {world} processes: each needs at least "
            "one sample. Use fewer, or a configuration with a larger batch: "
            f"resenc-plans derive --batch-size {world}."
        )
    anywhere = round(batch_size * (1 - foreground_share))
    shares = []
    first = 0
    for rank in range(world):
        size = batch_size // world + (rank < batch_size % world)
        foreground = min(size, max(0, first + size - anywhere))
        shares.append(RankShare(first, size, foreground))
        first += size
    return tuple(shares)
