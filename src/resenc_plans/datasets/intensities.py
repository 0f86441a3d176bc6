"""Statistics of foreground intensities, to the last bit as nnU-Net computes them.

nnU-Net draws about 10^8 foreground voxels per channel, the same number from each case, with
replacement and a fixed seed, and takes the statistics of the drawn values in single precision
(`DatasetFingerprintExtractor`). Here the voxels of a case are held once, the same draws fill one
buffer, channel by channel, and the buffer is reduced in pieces, in the order in which NumPy sums
an array.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.quantiles import Precision, linear_quantiles

SAMPLES_PER_DATASET = 10e7
"""Voxels to draw per channel, over all cases together."""

_SEED = 1234
_SUMMED_AT_ONCE = 1 << 16
_DRAWN_AT_ONCE = 1 << 16
_SHARED_NUMBERS = 1 << 17
_RAW_BOUND = 1 << 32
_QUANTILES = (0.005, 0.5, 0.995)
_STATISTICS = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")


class Draws:
    """The endless sequence of `RandomState(seed).randint(0, bound)`, for 1 <= bound <= 2^32.

    NumPy's legacy generator masks raw numbers of 32 bits and rejects those that are not below
    `bound`, one by one, with a branch that no processor predicts. Masking and selecting whole
    blocks gives the same numbers in about half the time.

    >>> values = np.empty(3, dtype=np.int64)
    >>> Draws(1234, 10).choose_into(np.arange(10), values)
    >>> values, np.random.RandomState(1234).randint(0, 10, 3)
    (array([3, 6, 5]), array([3, 6, 5]))
    """

    def __init__(self, seed: int, bound: int) -> None:
        self._seed = seed
        self._bound = bound
        self._mask = np.uint32((1 << (bound - 1).bit_length()) - 1)
        self._raw_per_draw = (int(self._mask) + 1) / bound
        self._position = 0
        self._random: np.random.RandomState | None = None
        self._unread = np.empty(0, dtype=np.uint32)

    def choose_into(self, values: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with draws from `values`, of which there are `bound`, with replacement."""
        filled = 0
        while filled < len(out):
            missing = len(out) - filled
            masked = self._next(int(missing * self._raw_per_draw * 1.01) + 16)
            if self._bound <= self._mask:
                accepted = np.flatnonzero(masked < self._bound)
                if len(accepted) > missing:
                    self._put_back(masked[accepted[missing - 1] + 1 :])
                    accepted = accepted[:missing]
                indices = masked.take(accepted).astype(np.intp)
            else:
                self._put_back(masked[missing:])
                indices = masked[:missing].astype(np.intp)
            out[filled : filled + len(indices)] = values.take(indices)
            filled += len(indices)

    def _next(self, count: int) -> NDArray[np.uint32]:
        """Some of the raw numbers that come next, masked."""
        first, state = _beginning(self._seed)
        if self._position < len(first):
            raw = first[self._position : self._position + count]
            self._position += len(raw)
            return raw & self._mask
        if len(self._unread):
            unread, self._unread = self._unread, self._unread[:0]
            return unread
        if self._random is None:
            self._random = np.random.RandomState(0)
            self._random.set_state(state)
        raw = _raw_numbers(self._random, min(count, _DRAWN_AT_ONCE))
        raw &= self._mask
        return raw

    def _put_back(self, masked: NDArray[np.uint32]) -> None:
        if self._random is None:
            self._position -= len(masked)
        else:
            self._unread = masked.copy()


@cache
def _beginning(seed: int) -> tuple[NDArray[np.uint32], Any]:
    """The raw numbers that a seed begins with, the same for all cases, and the state after them.

    All draws of a case of a large dataset are among them, so that it needs no generator of its own.
    """
    random = np.random.RandomState(seed)
    return _raw_numbers(random, _SHARED_NUMBERS), random.get_state(legacy=False)


def _raw_numbers(random: np.random.RandomState, count: int) -> NDArray[np.uint32]:
    return random.randint(0, _RAW_BOUND, size=count, dtype=np.uint32)


@dataclass(frozen=True)
class CaseIntensities:
    """Foreground values of one case, one row per channel."""

    values: NDArray[Any]
    drawn: bool
    """Whether the values are the draws themselves, or the voxels still to draw from."""


def case_intensities(foreground: Sequence[NDArray[Any]], samples: int) -> CaseIntensities:
    """Reduce the foreground voxels of a case, one array per channel, to what the statistics need.

    If there are more voxels than draws, these are the draws; else the voxels, to draw from later.
    """
    compact = [_compact(values) for values in foreground]
    if len(compact[0]) <= samples:
        return CaseIntensities(np.stack(compact), drawn=False)
    draws = Draws(_SEED, len(compact[0]))
    drawn = np.empty((len(compact), samples), np.result_type(*compact))
    for values, out in zip(compact, drawn, strict=True):
        draws.choose_into(values, out)
    return CaseIntensities(drawn, drawn=True)


def intensity_properties(
    cases: Sequence[CaseIntensities], samples: int, threads: Executor
) -> dict[str, dict[str, float]]:
    """Statistics per channel, by channel number, over `samples` draws of each case.

    Cases without foreground add nothing, except that nnU-Net then computes in double precision.
    Without any foreground all statistics are NaN.
    """
    channels = len(cases[0].values)
    filled = [case for case in cases if case.values.shape[1] > 0]
    if not filled:
        return {str(channel): dict.fromkeys(_STATISTICS, np.nan) for channel in range(channels)}
    precision: Precision = np.float32 if len(filled) == len(cases) else np.float64
    sampled = np.empty((len(filled), samples), _common_dtype(filled))
    draws = [Draws(_SEED, case.values.shape[1]) for case in filled]
    properties = {}
    for channel in range(channels):
        for _ in threads.map(_draw, filled, repeat(channel), draws, sampled):
            pass
        properties[str(channel)] = statistics(sampled.reshape(-1), precision)
    return properties


def statistics(values: NDArray[Any], precision: Precision = np.float32) -> dict[str, float]:
    """The statistics of a long array, as NumPy gives them for `values.astype(precision)`."""
    count = len(values)
    mean = precision(float(_sum(values, precision)) / count)
    variance = precision(float(_sum(values, precision, mean)) / count)
    low, median, high = linear_quantiles(values, _QUANTILES, precision)
    return {
        "max": float(values.max()),
        "mean": float(mean),
        "median": median,
        "min": float(values.min()),
        "percentile_00_5": low,
        "percentile_99_5": high,
        "std": float(np.sqrt(variance)),
    }


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Small integers as they are, anything else in single precision, as nnU-Net has it."""
    small = values.dtype.kind in "iub" and values.dtype.itemsize <= 2
    return values if small else values.astype(np.float32, copy=False)


def _common_dtype(cases: Sequence[CaseIntensities]) -> np.dtype[Any]:
    common = np.result_type(*{case.values.dtype for case in cases})
    return common if common.itemsize <= 2 else np.dtype(np.float32)


def _draw(case: CaseIntensities, channel: int, draws: Draws, out: NDArray[Any]) -> None:
    """Write the draws of a channel into `out`; `draws` goes on from channel to channel."""
    if case.drawn:
        out[:] = case.values[channel]
    else:
        draws.choose_into(case.values[channel], out)


def _sum(
    values: NDArray[Any], precision: Precision, mean: np.float32 | np.float64 | None = None
) -> np.float32 | np.float64:
    """Sum of the values, or of their squared distances from `mean`.

    NumPy halves an array until 128 items are left (pairwise summation), and cuts at multiples of
    eight. Cutting a long array in the same places gives the same sum without a copy of the whole.
    """
    if len(values) > _SUMMED_AT_ONCE:
        middle = len(values) // 2
        middle -= middle % 8
        left = _sum(values[:middle], precision, mean)
        return precision(left + _sum(values[middle:], precision, mean))
    piece: NDArray[np.floating[Any]] = values.astype(precision, copy=mean is not None)
    if mean is not None:
        piece -= mean
        piece *= piece
    return precision(np.add.reduce(piece))
