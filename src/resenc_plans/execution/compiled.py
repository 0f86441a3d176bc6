"""Loops compiled to machine code by numba when they first run, and kept on disk after that."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop over arrays; it runs without the interpreter's lock.

    The machine code is kept beside the source, else in the user's cache folder (or where
    NUMBA_CACHE_DIR says); where neither can be written, each process compiles anew.
    """
    try:
        result = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder to keep the code in
        result = njit(nogil=True, error_model="numpy")(function)
    return cast(Callable[P, R], result)
