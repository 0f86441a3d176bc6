"""The learning rate of each epoch."""

from collections.abc import Callable

Schedule = Callable[[int], float]
"""From the number of an epoch, counted from 0, to its learning rate."""


def polynomial(initial: float, epochs: int, exponent: float = 0.9) -> Schedule:
    """nnU-Net's `PolyLRScheduler`.

    >>> polynomial(0.01, 1000)(0)
    0.01
    """

    def rate(epoch: int) -> float:
        return float(initial * (1 - epoch / epochs) ** exponent)

    return rate
