"""How a batch is split over ranks: nnU-Net's `_set_batch_size_and_oversample`."""

from dataclasses import dataclass

from resenc_plans.errors import ConfigurationError


@dataclass(frozen=True)
class RankShare:
    """The samples of the global batch that one rank works on."""

    first: int
    size: int
    foreground_share: float
    """Of this rank's samples, at the end, that show foreground for certain."""

    @property
    def first_foreground(self) -> int:
        """The first of this rank's samples, counted from 0, that shows foreground for certain."""
        return round(self.size * (1 - self.foreground_share))


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
    shares = []
    first = 0
    for rank in range(world):
        size = batch_size // world + (rank < batch_size % world)
        low, high = first / batch_size, (first + size) / batch_size
        anywhere = 1 - foreground_share
        if high < anywhere:
            own = 0.0
        elif low > anywhere:
            own = 1.0
        else:
            own = 1 - (anywhere - low) / (high - low)
        shares.append(RankShare(first, size, own))
        first += size
    return tuple(shares)
