"""Import a class by name, from modules that the user trusts, and from no others."""

from collections.abc import Collection
from importlib import import_module
from typing import Any

from resenc_plans.errors import NetworkError


def is_allowed(name: str, allow_import: Collection[str]) -> bool:
    """Whether `name` lies in one of the modules `allow_import`, or below it.

    >>> is_allowed("mylab.nets.UNet", ["mylab"]), is_allowed("mylabs.UNet", ["mylab"])
    (True, False)
    """
    return any(name.startswith(f"{module}.") for module in allow_import)


def import_class(name: str, allow_import: Collection[str]) -> type[Any]:
    """The class `name`, a full import path; importing it runs its module's code.

    Raises
    ------
    NetworkError
        It is not in an allowed module, or there is no such class.
    """
    if not is_allowed(name, allow_import):
        raise NetworkError(f"{name!r} is not in a module that may be imported.")
    module, _, attribute = name.rpartition(".")
    try:
        imported = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NetworkError(f"{name!r} cannot be imported: {error}.") from None
    if not isinstance(imported, type):
        raise NetworkError(f"{name!r} is not a class.")
    return imported
