"""Reading pickles of other people without running what they say.

nnU-Net keeps a case's properties in a pickle, and a pickle is a program: on loading it may import
anything and call it. Here it may make plain containers, numbers, strings and NumPy arrays; all
else is refused by name.
"""

import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from resenc_plans.errors import FileError

_PLAIN = (
    *(bool, int, float, complex, str, bytes, bytearray),
    *(list, tuple, dict, set, frozenset),
)


def load_pickle(
    path: str | os.PathLike[str], also: Mapping[tuple[str, str], Any] = MappingProxyType({})
) -> Any:
    """Read a pickle that holds plain containers, numbers, strings and NumPy arrays.

    `also` gives what stands for further names (module, name) that the pickle may use.

    Raises
    ------
    FileError
        The file cannot be read, is damaged, or asks for anything else; that is named.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return _PlainUnpickler(stream, also).load()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file.") from None
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
    """The pickle of a document, in a form that every Python since 3.8 reads."""
    return pickle.dumps(document, protocol=4)


class _RefusedError(Exception):
    """A pickle asks for something that is not allowed."""


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows nothing but plain data."""

    def __init__(self, stream: BinaryIO, also: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(stream)
        self._allowed = {**_allowed(), **also}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _RefusedError(f"{module}.{name}")
        return self._allowed[module, name]


def _allowed() -> dict[tuple[str, str], Any]:
    """What pickles of plain data and arrays name, by any version of NumPy."""
    array, scalar = np.zeros(1), np.float64(0)
    numpy_functions = {
        "multiarray._reconstruct": array.__reduce__()[0],
        "multiarray.scalar": scalar.__reduce__()[0],
        "numeric._frombuffer": array.__reduce_ex__(5)[0],
    }
    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for module in ("builtins", "__builtin__"):
        allowed |= {(module, kind.__name__): kind for kind in _PLAIN}
    for qualified, function in numpy_functions.items():
        submodule, name = qualified.split(".")
        for package in ("numpy.core", "numpy._core"):
            allowed[f"{package}.{submodule}", name] = function
    return allowed


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as older protocols store them; other codecs than this one do more than encode."""
    if encoding != "latin1":
        raise _RefusedError(f"the codec {encoding}")
    return text.encode("latin1")
