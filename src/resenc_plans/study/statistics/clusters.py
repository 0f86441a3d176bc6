"""Cases that belong together, such as those of one patient, and draws of them."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_VALUES_AT_A_TIME = 1 << 22
"""Of a matrix of counts: 32 MiB."""


@dataclass(frozen=True)
class Clusters:
    """Which cluster each case is in; cases of one cluster are drawn together."""

    members: NDArray[np.intp]
    """By case, the number of its cluster."""
    size: int
    """How many clusters there are."""

    @classmethod
    def of(cls, names: Sequence[Hashable]) -> Self:
        """Clusters from the name of each case's cluster, in the order in which they occur.

        >>> Clusters.of(["ann", "bob", "ann"]).members
        array([0, 1, 0])
        """
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([numbers[name] for name in names], np.intp), len(numbers))

    def sums(self, values: Floats) -> Floats:
        """Sums over the cases of each cluster, `(clusters, columns)` of `(cases, columns)`."""
        sums = np.zeros((self.size, values.shape[1]))
        np.add.at(sums, self.members, values)
        return sums

    def means(self, values: Floats) -> Floats:
        """The mean of each cluster's values that are not NaN; clusters without any are left out."""
        is_valid = ~np.isnan(values)
        sums = self.sums(np.where(is_valid, values, 0.0)[:, None])[:, 0]
        counts = self.sums(is_valid[:, None].astype(float))[:, 0]
        return sums[counts > 0] / counts[counts > 0]


def drawn_counts(clusters: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is in each draw with replacement, `(some draws, clusters)` at a time.

    The numbers are those of `default_rng(seed).integers(0, clusters, (draws, clusters))`, which is
    what `scipy.stats.bootstrap` draws.
    """
    random = np.random.default_rng(seed)
    step = max(2, _VALUES_AT_A_TIME // clusters // 2 * 2)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = random.integers(0, clusters, (rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(float)
