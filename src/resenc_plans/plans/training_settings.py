"""`TrainingSettings`: everything about a training that a configuration does not say."""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import read_json

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Precision = Literal["auto", "fp16", "bf16", "fp32"]
Count = Annotated[int, Field(ge=1)]


class TrainingSettings(BaseModel):
    """How a training runs. Defaults are nnU-Net 2.8.1's.

    >>> TrainingSettings(epochs=100).learning_rate
    0.01
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: Count = 1000
    """Epochs of `iterations` batches."""
    iterations: Count = 250
    """Training batches per epoch."""
    validation_iterations: Count = 50
    """Batches from held-out cases after each epoch, for the pseudo Dice."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of the first epoch."""
    poly_exponent: Annotated[float, Field(gt=0)] = 0.9
    """The learning rate falls with (1 - epoch / epochs) to this power."""
    weight_decay: Annotated[float, Field(ge=0)] = 3e-5
    """Weight decay of SGD."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Nesterov momentum of SGD."""
    oversampled_foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Share of the samples of a batch that are certain to show foreground."""
    deep_supervision: bool = True
    """Whether all resolutions of the decoder but the lowest take part in the loss."""
    gradient_clip: Annotated[float, Field(gt=0)] = 12
    """Largest norm of the gradients of all weights together."""
    precision: Precision = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that support it, else fp32."""
    allow_tf32: bool = False
    """Whether convolutions in fp32 may use TF32 on CUDA: faster, less exact, nnU-Net's default."""
    compile: bool | None = None
    """Whether torch.compile compiles the network. null: on CUDA, except under Windows."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that make batches. null: as many as CPUs allow; 0: the main process."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights, patches and augmentation."""
    checkpoint_epochs: Count = 50
    """Epochs between checkpoints."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 30
    """Minutes after which a checkpoint is written even within `checkpoint_epochs`."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes after which a run ends with a checkpoint, to be resumed later."""
    tensorboard: bool = False
    """Whether curves are also written for TensorBoard (extra tensorboard)."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Settings from a JSON file; what it does not name keeps its default.

        Raises
        ------
        FileError
            The file cannot be read, or a setting is unknown or impossible; all are listed.
        """
        path = Path(path)
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            faults = "; ".join(_in_words(fault) for fault in error.errors())
            raise FileError(f"{path}: not training settings: {faults}.") from None


def _in_words(fault: "ErrorDetails") -> str:
    name = ".".join(map(str, fault["loc"])) or "the file"
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg']}"
    close = difflib.get_close_matches(name, TrainingSettings.model_fields, 1)
    return f"{name} is unknown{f', did you mean {close[0]}?' if close else ''}"
