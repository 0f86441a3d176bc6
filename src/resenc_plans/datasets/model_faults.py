"""Where values do not fit the types of a model: Pydantic's faults as sentences with the place."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from resenc_plans.errors import MAX_VALUE, shown

_SENTENCES = {
    "missing": "is missing",
    "int_type": "must be an integer, not {value}",
    "float_type": "must be a number, not {value}",
    "string_type": "must be a text, not {value}",
    "bool_type": "must be true or false, not {value}",
    "int_parsing": "must be an integer, not {value}",
    "int_from_float": "must be an integer, not {value}",
    "float_parsing": "must be a number, not {value}",
    "finite_number": "must be finite, not {value}",
    "bool_parsing": "must be true or false, not {value}",
    "literal_error": "must be {expected}, not {value}",
    "extra_forbidden": "is unknown",
    "union_tag_invalid": "must have a name that is one of {expected_tags}, not {tag!r}",
    "union_tag_not_found": "must be an object with a name, not {value}",
    "mapping_type": "must be an object, not {value}",
    "model_attributes_type": "must be an object, not {value}",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list, not {value}",
    "list_type": "must be a list, not {value}",
    "dict_type": "must be an object, not {value}",
    "model_type": "must be an object, not {value}",
    "greater_than": "must be greater than {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than": "must be less than {lt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "too_short": "must have at least {min_length} entries, not {actual_length}",
}


_BRANCHES = {
    *("residual", "plain", "other", "int", "float", "constrained-int"),
    *("SGD", "AdamW", "polynomial", "cosine", "dice_cross_entropy", "dice_focal"),
}
"""Names of union members that Pydantic puts into a location."""
_NAMED_BY_USERS = {"labels", "channel_names", "dataset", "configurations", "methods"}
"""Objects whose keys may be called anything."""


def sentences(error: ValidationError, known: Iterable[str] = ()) -> tuple[str, ...]:
    """One sentence per fault, `key.key[index] is ...`; the members of a union give one."""
    texts = fault_texts(error, known)
    return tuple(f"{place} {text}" if place else text for place, text in texts.items())


def fault_texts(error: ValidationError, known: Iterable[str] = ()) -> dict[str, str]:
    """What is wrong, by place; `known` are the keys that an unknown one may be meant for."""
    texts: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        place = location(detail["loc"])
        text = _SENTENCES.get(detail["type"])
        if text is None:
            text = detail["msg"].removeprefix("Value error, ")
            if place:
                text = f"is not accepted: {text} (it is {shown(detail['input'], 60)})"
        else:
            text = text.format(value=shown(detail["input"], 60), **detail.get("ctx", {}))
        if detail["type"] == "extra_forbidden":
            close = difflib.get_close_matches(place, known, 1)
            text += f" (did you mean {close[0]}?)" if close else ""
        if place in texts and texts[place] != text:
            text = f"has a wrong type or value: {shown(detail['input'], 60)}"
        texts[place] = text
    # Where an entry is at fault, Pydantic also finds that its list has too few.
    inner = tuple(texts)
    return {
        place: text
        for place, text in texts.items()
        if not any(other.startswith((f"{place}[", f"{place}.")) for other in inner if place)
    }


def location(parts: tuple[Any, ...]) -> str:
    """A place in a JSON document, as one writes it.

    >>> location(("configurations", "3d_fullres", "patch_size", 0))
    'configurations.3d_fullres.patch_size[0]'
    """
    text = ""
    for before, part in zip((None, *parts), parts, strict=False):
        if isinstance(part, int):
            text += f"[{part}]"
        elif before in _NAMED_BY_USERS or (part not in _BRANCHES and "[" not in part):
            key = part if len(part) <= MAX_VALUE else f"{part[: MAX_VALUE - 3]}..."
            text += f".{key}" if text else key
    return text
