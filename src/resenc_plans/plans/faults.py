"""Where a document does not fit the types or the JSON Schema of plans: sentences with the place."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from resenc_plans.datasets.finding import Finding
from resenc_plans.errors import MAX_VALUE, shown
from resenc_plans.plans.schema import schemas

if TYPE_CHECKING:
    from jsonschema import ValidationError as SchemaError


SCHEMA_RULE = "S001"

_TYPES = {
    "array": "a list",
    "object": "an object",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}
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
    texts = _texts(error)
    return tuple(f"{place} {text}" if place else text for place, text in texts.items())


def model_faults(error: ValidationError) -> tuple[Finding, ...]:
    """One finding per fault, with its key."""
    texts = _texts(error)
    return tuple(
        Finding(SCHEMA_RULE, "error", f"{text}.", key=place) for place, text in texts.items()
    )


def _texts(error: ValidationError) -> dict[str, str]:
    """What is wrong, by place."""
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
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in _BRANCHES and "[" not in part:
            key = part if len(part) <= MAX_VALUE else f"{part[: MAX_VALUE - 3]}..."
            text += f".{key}" if text else key
    return text


def schema_faults(document: Any) -> tuple[Finding, ...]:
    """One finding for each place that does not fit."""
    from jsonschema import Draft202012Validator

    faults = Draft202012Validator(schemas()["plans"]).iter_errors(document)
    return tuple(_finding(fault) for fault in faults)


def _finding(fault: "SchemaError") -> Finding:
    nearest = list(_nearest(fault))
    path = tuple(nearest[0].absolute_path)
    name = str(path[1]) if len(path) > 1 and path[0] == "configurations" else None
    if nearest[0].validator == "required":
        path = (*path, nearest[0].message.split("'")[1])
    key = location(path[2:] if name else path)
    return Finding(SCHEMA_RULE, "error", f"{_in_words(nearest)}.", name, key)


def _nearest(fault: "SchemaError") -> "Iterator[SchemaError]":
    """Of a fault with alternatives, those that got furthest into the document."""
    if not fault.context:
        yield fault
        return
    leaves = [leaf for alternative in fault.context for leaf in _nearest(alternative)]
    furthest = max(len(leaf.absolute_path) for leaf in leaves)
    yield from (leaf for leaf in leaves if len(leaf.absolute_path) == furthest)


def _in_words(alternatives: "list[SchemaError]") -> str:
    first = alternatives[0]
    value = shown(first.instance)
    if first.validator == "required":
        return "is missing"
    if first.validator == "minimum":
        return f"must be at least {first.validator_value}, not {value}"
    types = {_TYPES[f.validator_value]: None for f in alternatives if f.validator_value in _TYPES}
    return f"must be {' or '.join(types)}, not {value}" if types else f"does not fit: {value}"
