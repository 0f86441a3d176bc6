"""Import a class by name, from modules that the user trusts, and from no others."""

import sys
from collections.abc import Collection
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resenc_plans.errors import NetworkError


def is_allowed(name: str, allow_import: Collection[str]) -> bool:
    """Whether `name` lies in one of the modules `allow_import`, or below it.

    >>> is_allowed("mylab.nets.UNet", ["mylab"]), is_allowed("mylabs.UNet", ["mylab"])
    (True, False)
    """
    return any(name.startswith(f"{module}.") for module in allow_import)


def import_object(name: str, allow_import: Collection[str]) -> Any:
    """What stands at `name`, a full import path; importing it runs its module's code.

    Raises
    ------
    NetworkError
        It is not in an allowed module, or there is nothing of this name.
    """
    if not is_allowed(name, allow_import):
        raise NetworkError(f"{name!r} is not in a module that may be imported.")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NetworkError(
            f"{name!r} cannot be imported: {error}.{where_to_find(module)}"
        ) from None


def import_class(name: str, allow_import: Collection[str]) -> type[Any]:
    """The class `name`, a full import path; importing it runs its module's code.

    Raises
    ------
    NetworkError
        It is not in an allowed module, or there is no such class.
    """
    imported = import_object(name, allow_import)
    if not isinstance(imported, type):
        raise NetworkError(f"{name!r} is not a class.")
    return imported


def where_to_find(module: str) -> str:
    """A sentence, after a space, about a module that Python does not find; empty if it finds it."""
    top = module.partition(".")[0]
    if top in sys.modules or find_spec(top) is not None:
        return ""
    if PathFinder.find_spec(top, [str(Path.cwd())]) is not None:
        return f" {top} is in the current folder: set PYTHONPATH=."
    return f" Install it, or set PYTHONPATH to the folder that holds {top}."
