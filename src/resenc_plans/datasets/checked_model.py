"""`CheckedModel`: values that are checked when they are made and never change, in our words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from resenc_plans.datasets.model_faults import sentences
from resenc_plans.errors import ResencPlansError, UsageError, refuse_change
from resenc_plans.reprs import call_of_model


class CheckedModel(BaseModel):
    """A frozen model whose constructor and copies raise errors of this package.

    `model_validate` raises Pydantic's error, which has the faults one by one.
    """

    model_config = ConfigDict(frozen=True)

    _error: ClassVar[type[ResencPlansError]] = UsageError
    _remedy: ClassVar[str] = "Make new ones: {model}({name}=...)."
    """What to do instead of changing an attribute."""

    if not TYPE_CHECKING:  # where Pydantic's own signature is needed

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                faults = "; ".join(sentences(error, type(self)))
                raise self._error(f"{type(self).__name__}: {faults}.") from None

        __init__.__pydantic_base_init__ = True  # so that validation inside others does not call it

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            model = type(self).__name__
            refuse_change(self, name, self._remedy.format(model=model, name=name))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some values replaced, which are checked as in the constructor.

        Raises
        ------
        ResencPlansError
            They do not fit.
        """
        if not update:
            return super().model_copy(deep=deep)
        values = {name: getattr(self, name) for name in self.model_fields_set}
        copied = type(self)(**{**values, **(self.model_extra or {}), **update})
        private = self.__pydantic_private__
        object.__setattr__(copied, "__pydantic_private__", private and dict(private))
        return copied

    def __repr__(self) -> str:
        return call_of_model(self)

    def __str__(self) -> str:
        return repr(self)
