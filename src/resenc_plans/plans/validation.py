"""From Pydantic's findings to sentences that name the place in the file."""

from typing import Any

from pydantic import ValidationError

_SENTENCES = {
    "missing": "is missing",
    "int_type": "must be an integer, not {value}",
    "float_type": "must be a number, not {value}",
    "string_type": "must be a text, not {value}",
    "bool_type": "must be true or false, not {value}",
    "tuple_type": "must be a list, not {value}",
    "list_type": "must be a list, not {value}",
    "dict_type": "must be an object, not {value}",
    "model_type": "must be an object, not {value}",
    "greater_than": "must be greater than {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "too_short": "must have at least {min_length} entries, not {actual_length}",
}

_BRANCHES = {"residual", "plain", "other", "int", "float", "constrained-int"}
"""Names of union members that Pydantic puts into a location; no key of a file is called so."""


def sentences(error: ValidationError) -> tuple[str, ...]:
    """One sentence per fault, `key.key[index] is ...`; the members of a union give one."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        place = location(detail["loc"])
        text = _SENTENCES.get(detail["type"])
        if text is None:
            text = detail["msg"].removeprefix("Value error, ")
            if place:
                text = f"is not accepted: {text} (it is {_short(detail['input'])})"
        else:
            text = text.format(value=_short(detail["input"]), **detail.get("ctx", {}))
        if place in found and found[place] != text:
            text = f"has a wrong type or value: {_short(detail['input'])}"
        found[place] = text
    return tuple(f"{place} {text}" if place else text for place, text in found.items())


def location(parts: tuple[Any, ...]) -> str:
    """A place in a JSON document, as one writes it.

    >>> location(("configurations", "3d_fullres", "patch_size", 0))
    'configurations.3d_fullres.patch_size[0]'
    """
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in _BRANCHES and "[" not in part:
            text += f".{part}" if text else part
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
