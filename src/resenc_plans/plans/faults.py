"""Where a document does not fit its types, or plans their JSON Schema: findings with the place."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.model_faults import fault_texts, location
from resenc_plans.errors import shown
from resenc_plans.plans.schema import schemas
from resenc_plans.words import suggestion

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

_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
}


def model_faults(error: ValidationError, configurations: Iterable[str] = ()) -> tuple[Finding, ...]:
    """One finding per fault, with its key, and its configuration if it is in one of these."""
    texts = fault_texts(error)
    return tuple(
        Finding(SCHEMA_RULE, "error", f"{text}.", *_place(place, configurations))
        for place, text in texts.items()
    )


def _place(place: str, configurations: Iterable[str]) -> tuple[str | None, str]:
    for name in configurations:
        start = f"{location(('configurations', name))}."
        if place.startswith(start):
            return name, place.removeprefix(start)
    return None, place


def schema_faults(document: Any) -> tuple[Finding, ...]:
    """One finding for each place that does not fit."""
    from jsonschema import Draft202012Validator

    faults = Draft202012Validator(schemas()["plans"]).iter_errors(document)
    return tuple(finding for fault in faults for finding in _findings(fault))


def _findings(fault: "SchemaError") -> Iterator[Finding]:
    nearest = list(_nearest(fault))
    path = tuple(nearest[0].absolute_path)
    if nearest[0].validator == "required":
        inside = path[-1:] == ("architecture",)
        hint = " An architecture is inherited whole or not at all." if inside else ""
        yield _finding((*path, nearest[0].message.split("'")[1]), f"is missing.{hint}")
    elif nearest[0].validator == "additionalProperties":
        schema: Any = nearest[0].schema
        instance: Any = nearest[0].instance
        known = schema.get("properties", {})
        for key in [key for key in instance if key not in known]:
            yield _finding((*path, key), f"is unknown.{suggestion(key, known)}")
    else:
        yield _finding(path, f"{_in_words(nearest)}.")


def _finding(path: tuple[Any, ...], message: str) -> Finding:
    name = str(path[1]) if len(path) > 1 and path[0] == "configurations" else None
    return Finding(SCHEMA_RULE, "error", message, name, location(path[2:] if name else path))


def _nearest(fault: "SchemaError") -> "Iterator[SchemaError]":
    """Of a fault with alternatives, those that got furthest into the document, in order."""
    if not fault.context:
        yield fault
        return
    misnamed = {leaf.schema_path[0] for leaf in fault.context if leaf.validator == "const"}
    named = [leaf for leaf in fault.context if leaf.schema_path[0] not in misnamed]
    leaves = [leaf for alternative in named or fault.context for leaf in _nearest(alternative)]
    furthest = max(len(leaf.absolute_path) for leaf in leaves)
    nearest = [leaf for leaf in leaves if len(leaf.absolute_path) == furthest]
    yield from sorted(nearest, key=lambda leaf: [*map(str, leaf.absolute_path)])


def _in_words(alternatives: "list[SchemaError]") -> str:
    first = alternatives[0]
    value, limit = shown(first.instance), first.validator_value
    if first.validator in _LIMITS:
        return f"must be {_LIMITS[first.validator]} {limit:g}, not {value}"
    if first.validator == "const":
        names = dict.fromkeys(str(fault.validator_value) for fault in alternatives)
        return f"must be one of {', '.join(names)}, not {value}"
    if first.validator == "enum" and isinstance(limit, list):
        return f"must be one of {', '.join(map(str, limit))}, not {value}"
    expected = (f.validator_value for f in alternatives if f.validator == "type")
    types = {_TYPES[name]: None for name in expected if isinstance(name, str) and name in _TYPES}
    return f"must be {' or '.join(types)}, not {value}" if types else f"does not fit: {value}"
