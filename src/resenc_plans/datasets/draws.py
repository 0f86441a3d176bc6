"""The draws of NumPy's legacy generator, in half its time.

`RandomState.randint(0, bound)` masks raw numbers of 32 bits and rejects those that are not below
`bound`, one by one, with a branch that no processor predicts. Masking and selecting whole blocks
gives the same numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16
_RAW_BOUND = 1 << 32


class Draws:
    """The endless sequence of `RandomState(seed).randint(0, bound)`, for 1 <= bound <= 2^32.

    >>> values = np.empty(3, dtype=np.int64)
    >>> Draws(1234, 10).choose_into(np.arange(10), values)
    >>> values, np.random.RandomState(1234).randint(0, 10, 3)
    (array([3, 6, 5]), array([3, 6, 5]))
    """

    def __init__(self, seed: int, bound: int) -> None:
        self._random = np.random.RandomState(seed)
        self._bound = bound
        self._mask = np.uint32((1 << (bound - 1).bit_length()) - 1)
        self._spare = np.empty(0, dtype=np.intp)

    def choose_into(self, values: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with draws from `values`, of which there are `bound`, with replacement."""
        filled = 0
        while filled < len(out):
            if not len(self._spare):
                self._spare = self._block()
            indices = self._spare[: len(out) - filled]
            out[filled : filled + len(indices)] = values.take(indices)
            self._spare = self._spare[len(indices) :]
            filled += len(indices)

    def _block(self) -> NDArray[np.intp]:
        raw = self._random.randint(0, _RAW_BOUND, size=_BLOCK, dtype=np.uint32)
        raw &= self._mask
        indices = raw.astype(np.intp)
        if self._bound > self._mask:
            return indices
        return indices.take(np.flatnonzero(raw < self._bound))
