"""How the plans' batch, which is the global one, is split over processes."""

from dataclasses import dataclass

from resenc_plans.errors import ConfigurationError


@dataclass(frozen=True)
class BatchShare:
    """The samples of the global batch that one process computes."""

    first: int
    """Number of its first sample within the global batch."""
    size: int
    oversampled: int
    """How many of its samples, the last ones, are sure to contain foreground."""

    @property
    def foreground_share(self) -> float:
        """The share of its samples that are oversampled."""
        return self.oversampled / self.size


def split_batch(
    batch_size: int, world: int, oversampled_foreground: float = 0.33
) -> tuple[BatchShare, ...]:
    """The share of every rank, as nnU-Net's `_set_batch_size_and_oversample` splits it.

    The first ranks have one sample more where the batch cannot be split evenly. The last samples
    of the global batch are the oversampled ones, so the last ranks have most of them.

    >>> [(share.size, share.oversampled) for share in split_batch(5, 3)]
    [(2, 0), (2, 1), (1, 1)]

    Raises
    ------
    ConfigurationError
        There are more processes than samples.
    """
    if batch_size < world:
        raise ConfigurationError(
            f"A batch of {batch_size} cannot be split over {world} processes, since each needs a "
            f"sample. Use at most {batch_size}, or derive a configuration with a batch size of "
            f"at least {world}."
        )
    random = round(batch_size * (1 - oversampled_foreground))
    shares, first = [], 0
    for rank in range(world):
        size = batch_size // world + (rank < batch_size % world)
        oversampled = first + size - min(max(random, first), first + size)
        shares.append(BatchShare(first, size, oversampled))
        first += size
    return tuple(shares)
