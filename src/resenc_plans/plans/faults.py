"""Where a document does not fit its types, or plans their JSON Schema: findings with the place."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from resenc_plans.datasets.finding import Finding
from resenc_plans.datasets.model_faults import fault_texts, location
from resenc_plans.errors import shown
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


def model_faults(error: ValidationError) -> tuple[Finding, ...]:
    """One finding per fault, with its key."""
    texts = fault_texts(error)
    return tuple(
        Finding(SCHEMA_RULE, "error", f"{text}.", key=place) for place, text in texts.items()
    )


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
    """Of a fault with alternatives, those that got furthest into the document, in order."""
    if not fault.context:
        yield fault
        return
    leaves = [leaf for alternative in fault.context for leaf in _nearest(alternative)]
    furthest = max(len(leaf.absolute_path) for leaf in leaves)
    nearest = [leaf for leaf in leaves if len(leaf.absolute_path) == furthest]
    yield from sorted(nearest, key=lambda leaf: [*map(str, leaf.absolute_path)])


def _in_words(alternatives: "list[SchemaError]") -> str:
    first = alternatives[0]
    value = shown(first.instance)
    if first.validator == "required":
        return "is missing"
    if first.validator == "minimum":
        return f"must be at least {first.validator_value}, not {value}"
    expected = (f.validator_value for f in alternatives if f.validator == "type")
    types = {_TYPES[name]: None for name in expected if isinstance(name, str) and name in _TYPES}
    return f"must be {' or '.join(types)}, not {value}" if types else f"does not fit: {value}"
