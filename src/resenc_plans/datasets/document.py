"""`Document`: the typed view of a JSON file that keeps the file's own content."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

from resenc_plans.datasets.checked_model import CheckedModel


class Document(CheckedModel):
    """What a JSON file says; unknown keys are kept, and nothing of it changes."""

    model_config = ConfigDict(extra="allow")

    _remedy: ClassVar[str] = "Make another: {model}.from_dict({{**document.to_dict(), ...}})."
    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_document(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        model = handler(values)
        if isinstance(values, Mapping):
            model._document = deepcopy(dict(values))
        return model

    def to_dict(self) -> dict[str, Any]:
        """The document as it was read or made: same keys, order and values."""
        return deepcopy(self._document)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; what it says cannot be replaced.

        Raises
        ------
        UsageError
            There is something to replace.
        """
        for name, value in (update or {}).items():
            self.__setattr__(name, value)
        return super().model_copy(deep=deep)
