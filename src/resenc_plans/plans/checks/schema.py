"""Where a document does not fit the JSON Schema of plans, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resenc_plans.plans.checks.findings import Finding
from resenc_plans.plans.schema import schemas
from resenc_plans.plans.validation import location

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMA_RULE = "S001"

_TYPES = {
    "array": "a list",
    "object": "an object",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}
_LONGEST_VALUE = 80


def schema_faults(document: Any) -> tuple[Finding, ...]:
    """One finding for each place that does not fit."""
    from jsonschema import Draft202012Validator

    faults = Draft202012Validator(schemas()["plans"]).iter_errors(document)
    return tuple(_finding(fault) for fault in faults)


def _finding(fault: "ValidationError") -> Finding:
    nearest = list(_nearest(fault))
    path = tuple(nearest[0].absolute_path)
    name = str(path[1]) if len(path) > 1 and path[0] == "configurations" else None
    if nearest[0].validator == "required":
        path = (*path, nearest[0].message.split("'")[1])
    key = location(path[2:] if name else path)
    return Finding(SCHEMA_RULE, "error", name, key, f"{_in_words(nearest)}.")


def _nearest(fault: "ValidationError") -> "Iterator[ValidationError]":
    """Of a fault with alternatives, those that got furthest into the document."""
    if not fault.context:
        yield fault
        return
    leaves = [leaf for alternative in fault.context for leaf in _nearest(alternative)]
    furthest = max(len(leaf.absolute_path) for leaf in leaves)
    yield from (leaf for leaf in leaves if len(leaf.absolute_path) == furthest)


def _in_words(alternatives: "list[ValidationError]") -> str:
    first = alternatives[0]
    value = repr(first.instance)
    value = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
    if first.validator == "required":
        return "is missing"
    if first.validator == "minimum":
        return f"must be at least {first.validator_value}, not {value}"
    types = {_TYPES[f.validator_value]: None for f in alternatives if f.validator_value in _TYPES}
    return f"must be {' or '.join(types)}, not {value}" if types else f"does not fit: {value}"
