"""Values that cannot change and can be hashed: the ground of every model of plans."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Strict
from pydantic_core import core_schema

from resenc_plans.datasets.checked_model import CheckedModel

Integer = Annotated[int, Strict()]
Boolean = Annotated[bool, Strict()]
Number = Annotated[int, Strict()] | Annotated[float, Strict()]
"""An integer stays an integer and a float a float, as the file has them."""


class FrozenModel(CheckedModel):
    """A view of a part of a JSON document: immutable, hashable, unknown keys kept."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    _remedy: ClassVar[str] = "Derive a configuration with other values: plan.derive(...)."


class FrozenDict(Mapping[str, Any]):
    """An immutable, hashable mapping of JSON values; lists inside become tuples.

    >>> settings = FrozenDict({"eps": 1e-05, "shape": [1, 2]})
    >>> settings["shape"], hash(settings) == hash(FrozenDict(settings))
    ((1, 2), True)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = {key: freeze(value) for key, value in items.items()}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({self._items!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> core_schema.CoreSchema:
        as_dict = core_schema.dict_schema(keys_schema=core_schema.str_schema())
        return core_schema.no_info_before_validator_function(
            lambda value: dict(value) if isinstance(value, FrozenDict) else value,
            core_schema.no_info_after_validator_function(cls, as_dict),
            serialization=core_schema.plain_serializer_function_ser_schema(thaw),
        )


def freeze(value: Any) -> Any:
    """The immutable twin of a JSON value: tuples for lists, `FrozenDict` for objects."""
    if isinstance(value, Mapping):
        return value if isinstance(value, FrozenDict) else FrozenDict(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """The JSON value of which `freeze` made `value`, as a fresh copy."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value
