"""How the held-out cases of a fold were predicted, as validation.json beside them says."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import read_json, write_json

VALIDATION_JSON = "validation.json"


class ValidationRecord(BaseModel):
    """What decides the predictions of held-out cases, beside the model."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    mirror_axes: tuple[int, ...]
    """Axes of the patch that were averaged over."""
    step_size: float
    """Distance between neighbouring tiles, in patches."""
    checkpoint: str
    """The name of the file."""
    precision: str
    """The type that was computed in, such as float16."""
    postprocessing: tuple[Any, ...] = ()
    """Steps that were applied, as postprocessing.json names their labels."""

    @classmethod
    def load(cls, validation: Path) -> Self | None:
        """The record in a folder of validation predictions; None where it has none.

        Raises
        ------
        FileError
            It is damaged.
        """
        path = validation / VALIDATION_JSON
        if not path.is_file():
            return None
        try:
            return cls.model_validate(read_json(path))
        except ValidationError:
            raise FileError(f"{path}: not the record of a validation.") from None

    def save(self, validation: Path) -> None:
        """Write the record beside the predictions.

        Raises
        ------
        FileError
            It cannot be written.
        """
        write_json(validation / VALIDATION_JSON, self.model_dump())
