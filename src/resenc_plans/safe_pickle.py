"""Read pickles without running code from them.

nnU-Net keeps a case's properties in a pickle, and a pickle is a program: on loading it may import
and call anything. Here it may make plain containers, numbers, strings and NumPy arrays; anything
else is refused by name.
"""

import os
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from resenc_plans.errors import FileError
from resenc_plans.files import open_regular

Globals = Mapping[tuple[str, str], Any]
"""What the names (module, name) in a pickle stand for."""


def _numpy_globals() -> dict[tuple[str, str], Any]:
    array, scalar = np.zeros(1), np.float64(0)
    functions = {
        "multiarray._reconstruct": array.__reduce__()[0],
        "multiarray.scalar": scalar.__reduce__()[0],
        "numeric._frombuffer": array.__reduce_ex__(5)[0],
    }
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for qualified, function in functions.items():
        submodule, name = qualified.split(".")
        for package in ("numpy.core", "numpy._core"):
            names[f"{package}.{submodule}", name] = function
    for kind in {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"}:
        names[kind.__module__, kind.__name__] = kind
    return names


NUMPY_GLOBALS: Globals = MappingProxyType(_numpy_globals())
"""What NumPy's arrays and numbers need, by the names of any version of NumPy."""

_PLAIN = (
    *(bool, int, float, complex, str, bytes, bytearray),
    *(list, tuple, dict, set, frozenset),
)


def load_pickle(path: str | os.PathLike[str], extra_globals: Globals = MappingProxyType({})) -> Any:
    """Read a pickle that holds plain containers, numbers, strings and NumPy arrays.

    `extra_globals` are further names that the pickle may use.

    Raises
    ------
    FileError
        The file cannot be read, is damaged, or uses any other name; the message gives it.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            content = stream.read()
        _check_memo(content)
        return _PlainUnpickler(BytesIO(content), extra_globals).load()
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from None
    except _RefusedError as refused:
        raise FileError(
            f"{path}: asks to load {refused}. Only plain containers, numbers, strings and NumPy "
            "arrays are read; do not open this file with tools that load more."
        ) from None
    except Exception as error:
        raise FileError(f"{path}: damaged, or no pickle: {error}") from None


def dump_pickle(document: Any) -> bytes:
    """The pickle of a document, in a protocol that every Python since 3.4 reads."""
    return pickle.dumps(document, protocol=4)


_LARGE_MEMO = re.compile(rb"(?=r(.{4}))|(?=p[^\n]*[0-9]{6}[^\n]*\n)", re.DOTALL)
"""Bytes that may ask for room for many objects; they may also be a part of something else."""


def _check_memo(content: bytes) -> None:
    """Refuse a memo of more objects than the pickle has bytes: its unpickler would make the room.

    Raises
    ------
    ValueError
        It asks for that, or is damaged.
    """
    if not any(
        found[1] is None or int.from_bytes(found[1], "little") > len(content)
        for found in _LARGE_MEMO.finditer(content)
    ):
        return
    for code, argument, _ in pickletools.genops(content):
        objects = argument if code.name in ("PUT", "LONG_BINPUT") else None
        if isinstance(objects, int) and objects > len(content):
            raise ValueError(f"{len(content)} bytes ask for a memo of {objects} objects")


class _RefusedError(Exception):
    """A pickle asks for something that is not allowed."""


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler for plain data only."""

    def __init__(self, stream: BinaryIO, extra_globals: Globals) -> None:
        super().__init__(stream)
        self._allowed = {**_PLAIN_GLOBALS, **NUMPY_GLOBALS, **extra_globals}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _RefusedError(f"{module}.{name}")
        return self._allowed[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """Make bytes as older protocols store them; other codecs may do more than encode."""
    if encoding != "latin1":
        raise _RefusedError(f"the codec {encoding}")
    return text.encode("latin1")


def _plain_bytes(*arguments: Any) -> bytes:
    return bytes(*_checked_content(arguments))


def _plain_bytearray(*arguments: Any) -> bytearray:
    return bytearray(*_checked_content(arguments))


def _checked_content(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Content of which a pickle holds every byte: a number would ask for any amount of memory."""
    if arguments and not isinstance(arguments[0], bytes | bytearray | str | list | tuple):
        raise _RefusedError("bytes that it does not hold")
    return arguments


_MADE_WITH_CARE: Mapping[type, Any] = {bytes: _plain_bytes, bytearray: _plain_bytearray}

_PLAIN_GLOBALS: Globals = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    **{
        (module, kind.__name__): _MADE_WITH_CARE.get(kind, kind)
        for module in ("builtins", "__builtin__")
        for kind in _PLAIN
    },
}
