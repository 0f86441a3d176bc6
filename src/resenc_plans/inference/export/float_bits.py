"""Floats by their bits, for compiled loops: numba has no arithmetic in half precision.

`ordered` and `decoded` take the bits of a float16, float32 or float64 as an integer of the same
width. They exist in compiled code only, which picks the right one by the type of the integer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from resenc_plans.execution.compiled import compiled

Array = npt.NDArray[Any]

HALF, SINGLE, DOUBLE = 2, 4, 8
"""Types to round to, by their size in bytes."""

HALF_VALUES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The value of every float16, by its bits."""

DROPPED = 42
"""Bits of a double's mantissa that half precision has no place for."""
HALF_OF_DROPPED = (1 << (DROPPED - 1)) - 1
SMALLEST_NORMAL = 2.0**-14
UNIT_AT_SUBNORMALS = 1.5 * 2.0**28
"""Added to a double and taken off again, it leaves a multiple of 2^-24."""


def as_bits(values: Array) -> Array:
    """A view of floats as integers of the same size."""
    return values.view(np.dtype(f"i{values.dtype.itemsize}"))


def infinity_bits(bits: Array) -> int:
    """What infinity reads as among such bits; larger ones are NaN."""
    return int(as_bits(np.full(1, np.inf, f"f{bits.dtype.itemsize}"))[0])


def ordered(bits: Any) -> Any:
    """An integer of the same width that rises with the float's value, both zeros being 0.

    Consecutive floats have consecutive integers (but for -0), so differences count units of the
    last place.
    """
    raise NotImplementedError("for compiled code only")


def decoded(bits: Any, half_values: Array) -> float:
    """The value of a float, as a double."""
    raise NotImplementedError("for compiled code only")


def value_of(key: Any, half_values: Array) -> float:
    """The value, as a double, of the float with this `ordered` integer."""
    raise NotImplementedError("for compiled code only")


_INTEGERS: dict[Any, Any] = {
    types.int16: np.int16,
    types.int32: np.int32,
    types.int64: np.int64,
}


@overload(ordered)
def _ordered(bits: Any) -> Callable[[Any], Any]:
    return _ordered_by(_INTEGERS[bits], bits.bitwidth - 1)


def _ordered_by(integer: Any, sign: int) -> Callable[[Any], Any]:
    """`ordered` in a type; it is named after each step, or 64 bits would be carried through."""
    minus_zero, magnitude = integer(-1), integer((1 << sign) - 1)
    shift = integer(sign)

    def in_type(bits: Any) -> Any:
        inverted = integer(bits ^ integer(integer(bits >> shift) & magnitude))
        return integer(inverted + integer(inverted == minus_zero))

    return in_type


@overload(decoded)
def _decoded(bits: Any, half_values: Any) -> Callable[[Any, Any], Any] | None:  # noqa: ARG001
    def from_half(bits: Any, half_values: Any) -> Any:
        return np.float64(half_values[np.uint16(bits)])

    def from_single(bits: Any, half_values: Any) -> Any:  # noqa: ARG001
        return np.float64(np.int32(bits).view(np.float32))

    def from_double(bits: Any, half_values: Any) -> Any:  # noqa: ARG001
        return np.int64(bits).view(np.float64)

    return {types.int16: from_half, types.int32: from_single, types.int64: from_double}.get(bits)


@overload(value_of)
def _value_of(key: Any, half_values: Any) -> Callable[[Any, Any], Any]:  # noqa: ARG001
    integer = _INTEGERS[key]
    magnitude = integer((1 << (key.bitwidth - 1)) - 1)

    def from_key(key: Any, half_values: Any) -> Any:
        return decoded(key if key >= 0 else integer(key ^ magnitude), half_values)

    return from_key


@compiled
def rounded(value: float, size: int) -> float:
    """A double rounded to the float of `size` bytes, to even where it is midway."""
    if size == SINGLE:
        return np.float64(np.float32(value))
    if size == DOUBLE:
        return value
    if abs(value) < SMALLEST_NORMAL:
        return (value + UNIT_AT_SUBNORMALS) - UNIT_AT_SUBNORMALS
    bits = np.float64(value).view(np.int64)
    bits += HALF_OF_DROPPED + ((bits >> DROPPED) & 1)
    return np.int64((bits >> DROPPED) << DROPPED).view(np.float64)
