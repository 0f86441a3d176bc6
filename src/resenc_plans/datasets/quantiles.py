"""Quantiles of a long array without sorting or copying it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Precision = type[np.float32] | type[np.float64]

_SAMPLE = 1 << 19
_MARGIN = 0.005
_PIECE = 1 << 16


def linear_quantiles(
    values: NDArray[Any], quantiles: Sequence[float], precision: Precision = np.float32
) -> list[float]:
    """What `numpy.quantile(values.astype(precision), quantiles)` gives, to the last bit.

    >>> linear_quantiles(np.array([4.0, 1.0, 2.0, 3.0]), [0.5, 0.995])
    [2.5, 3.985]
    """
    positions = [(len(values) - 1) * quantile for quantile in quantiles]
    neighbours = _neighbours(values, [int(position) for position in positions], _MARGIN)
    result = []
    for position, (low, high) in zip(positions, neighbours, strict=True):
        weight = position - int(position)
        step = float(precision(high) - precision(low))
        result.append(
            float(high) - step * (1 - weight) if weight >= 0.5 else float(low) + step * weight
        )
    return result


class _Bracket:
    """The values between two bounds, and the number of values below them."""

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high
        self.below = self.at = 0
        self.inside: list[NDArray[Any]] = []

    def add(self, piece: NDArray[Any]) -> None:
        self.below += int(np.count_nonzero(piece < self.low))
        if self.low == self.high:
            self.at += int(np.count_nonzero(piece == self.low))
        else:
            self.inside.append(piece[(piece >= self.low) & (piece <= self.high)])

    def pair(self, rank: int, following: int) -> tuple[Any, Any] | None:
        """The values at two neighbouring ranks of the whole, None where they lie outside."""
        if self.low == self.high:
            covered = self.below <= rank and following < self.below + self.at
            return (self.low, self.low) if covered else None
        inside = np.concatenate(self.inside)
        if not (self.below <= rank and following < self.below + len(inside)):
            return None
        places = [rank - self.below, following - self.below]
        inside.partition(places)
        return inside[places[0]], inside[places[1]]


def _neighbours(values: NDArray[Any], ranks: Sequence[int], margin: float) -> list[tuple[Any, Any]]:
    """For each rank, the value at that rank in sorted order, and the next one.

    A sorted sample of the values brackets the ranks, so that only the values within
    need sorting. A bracket that misses its rank is widened, in the end to all values.
    """
    sample = np.sort(values[:: max(1, len(values) // _SAMPLE)])
    brackets = []
    for rank in ranks:
        first = int((rank / len(values) - margin) * len(sample))
        last = int((rank / len(values) + margin) * len(sample)) + 1
        brackets.append(
            _Bracket(
                sample[first] if first > 0 else values.min(),
                sample[last] if last < len(sample) else values.max(),
            )
        )
    for start in range(0, len(values), _PIECE):
        for bracket in brackets:
            bracket.add(values[start : start + _PIECE])
    pairs = []
    for rank, bracket in zip(ranks, brackets, strict=True):
        pair = bracket.pair(rank, min(rank + 1, len(values) - 1))
        pairs.append(pair or _neighbours(values, [rank], margin * 8)[0])
    return pairs
