"""What the fuzzer knows of a kind of input: valid files, how they are damaged, what reads them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.damaged_files import damage_file

Calls = Iterator[Callable[[], object]]
"""What is done with a file, one call after the other; each may refuse it."""


@dataclass(frozen=True)
class Kind:
    """A kind of input."""

    files: tuple[str, ...]
    """Valid examples, relative to the folder of `write_examples`; one is damaged at a time."""
    read: Callable[[Path, Path, Random], Calls]
    """Takes the folder, the damaged file in it, and chance."""
    damage: Callable[[Random, bytes], bytes] = damage_file
    weight: int = 1
    """How often it is chosen, compared with others of its group."""
    writes: bool = False
    """Whether reading it is to change files in the folder."""
    starts: bool = False
    """Whether it may start other processes."""


class RefusedError(Exception):
    """A command has refused its input; nothing may have changed."""


class FailedError(Exception):
    """A command has failed in part, and said so; the rest of its results may be there."""
