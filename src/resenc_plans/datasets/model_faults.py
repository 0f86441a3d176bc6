"""Where values do not fit the types of a model: Pydantic's faults as sentences with the place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from resenc_plans.errors import MAX_VALUE, shown
from resenc_plans.words import meant

_SENTENCES = {
    "missing": "is missing",
    "int_type": "must be an integer, not {value}",
    "float_type": "must be a number, not {value}",
    "string_type": "must be a text, not {value}",
    "bool_type": "must be true or false, not {value}",
    "int_parsing": "must be an integer, not {value}",
    "int_parsing_size": "must be an integer of fewer digits, not {value}",
    "int_from_float": "must be an integer, not {value}",
    "float_parsing": "must be a number, not {value}",
    "finite_number": "must be finite, not {value}",
    "bool_parsing": "must be true or false, not {value}",
    "enum": "must be {expected}, not {value}",
    "none_required": "must be null, not {value}",
    "path_type": "must be a path, not {value}",
    "string_too_long": "must have at most {max_length} characters, not {value}",
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
    "too_long": "must have no more entries than {max_length}, not {actual_length}",
    "too_short": "must have {min_length} or more entries, not {actual_length}",
}


_BRANCHES = {
    *("residual", "plain", "other", "int", "float", "constrained-int"),
    *("SGD", "AdamW", "polynomial", "cosine", "dice_cross_entropy", "dice_focal"),
}
"""Names of union members that Pydantic puts into a location."""
_NAMED_BY_USERS = {"labels", "channel_names", "dataset", "configurations", "methods"}
"""Objects whose keys may be called anything."""


_NAMES = {"literal_error": "expected", "union_tag_invalid": "expected_tags"}
"""Faults of a name that is one of a few, and where Pydantic lists those."""
_QUOTED = re.compile(r"'([^']*)'")
_INSIDE = "faults_inside"


def sentences(error: ValidationError, model: type[BaseModel] | None = None) -> tuple[str, ...]:
    """One sentence per fault, `key.key[index] is ...`; the members of a union give one."""
    texts = fault_texts(error, model)
    return tuple(f"{place} {text}" if place else text for place, text in texts.items())


def fault_texts(error: ValidationError, model: type[BaseModel] | None = None) -> dict[str, str]:
    """What is wrong, by place; `model` is whose keys an unknown one may be meant for."""
    texts: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        place = location(detail["loc"])
        if detail["type"] == _INSIDE:
            for inner, text in detail["ctx"]["texts"].items():
                key = f"{place}.{inner}" if inner else place
                texts[key] = text if inner else f"is not accepted: {text}"
            continue
        context = detail.get("ctx", {})
        text = _SENTENCES.get(detail["type"])
        if text is None:
            text = detail["msg"].removeprefix("Value error, ")
            if place:
                text = f"is not accepted: {text} (it is {shown(detail['input'], 60)})"
        else:
            text = text.format(value=shown(detail["input"], 60), **context)
        if detail["type"] == "extra_forbidden" and model is not None:
            models = _models_at(model, detail["loc"][:-1])
            text += meant(
                str(detail["loc"][-1]), [key for one in models for key in one.model_fields]
            )
        elif detail["type"] == "model_attributes_type" and model is not None:
            text = text.replace("object", f"object{_with_a_name(_models_at(model, detail['loc']))}")
        elif detail["type"] in _NAMES:
            wrong = context.get("tag", detail["input"])
            known = _QUOTED.findall(context[_NAMES[detail["type"]]])
            text += meant(wrong, known) if isinstance(wrong, str) else ""
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


def none_of(known: Iterable[str]) -> PydanticCustomError:
    """What a validator raises for a name that is none of those known."""
    *first, last = map(repr, known)
    expected = f"{', '.join(first)} or {last}" if first else last
    return PydanticCustomError("literal_error", "none of {expected}", {"expected": expected})


def refused_inside(texts: Mapping[str, str]) -> PydanticCustomError:
    """What a validator raises where keys of its value are at fault: what is wrong, by key."""
    return PydanticCustomError(_INSIDE, "is not accepted", {"texts": dict(texts)})


def _models_at(model: type[BaseModel], parts: tuple[Any, ...]) -> list[type[BaseModel]]:
    """The models that may stand at a place in another."""
    models = [model]
    for part in parts:
        fields = [one.model_fields.get(part) for one in models]
        inner = [one for field in fields if field for one in _models(field.annotation)]
        models = inner or [one for one in models if _is_tag(part, one)] or models
    return models


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """A model itself, or those in a union, a list or an object."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)


def _with_a_name(members: list[type[BaseModel]]) -> str:
    """What the object of a union must have; empty where its members are not told by a name."""
    names = [one.model_fields["name"].default for one in members if "name" in one.model_fields]
    return f" with a name that is one of {', '.join(map(repr, names))}" if len(names) > 1 else ""


def _is_tag(part: Any, model: type[BaseModel]) -> bool:
    """Whether Pydantic names a member of a union so."""
    return any(field.default == part for field in model.model_fields.values())


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
