"""Loops that numba compiles when they first run, and caches on disk."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop over arrays; it runs without the interpreter's lock.

    The machine code is cached beside the source, or else in the user's cache folder (or in
    NUMBA_CACHE_DIR). Where neither is writable, each process compiles again.
    """
    try:
        result = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder for its cache
        result = njit(nogil=True, error_model="numpy")(function)
    return cast(Callable[P, R], result)
