"""`PredictionSettings`: how a trained model is applied, beside what its folder says."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from resenc_plans.datasets.checked_model import CheckedModel
from resenc_plans.datasets.model_faults import sentences
from resenc_plans.errors import PredictionError
from resenc_plans.folders import FINAL_CHECKPOINT


class PredictionSettings(CheckedModel):
    """How to predict; the defaults are those of nnU-Net 2.8.1.

    Raises
    ------
    PredictionError
        A setting is unknown or impossible; all faults are listed.

    >>> PredictionSettings(mirroring=False).step_size
    0.5
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    checkpoint: str = FINAL_CHECKPOINT
    """The name of the file in each fold's folder."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps. null: a GPU if there is one, else the CPU."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """null: fp16 on a CUDA GPU, as nnU-Net does; bf16 on a CPU that multiplies in it, else fp32.
    nnU-Net's labels on a CPU are those of fp32."""
    allow_tf32: bool = False
    """Whether convolutions in fp32 may use TF32 on CUDA: faster, less exact, nnU-Net's default."""
    mirroring: bool = True
    """Whether to average over the axes that training mirrored."""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Distance between neighbouring tiles, in patches."""
    export_on: Literal["auto", "cpu", "device"] = "auto"
    """Where logits become labels, which are the same: auto takes a CUDA GPU, unless probabilities
    are written."""
    compile: bool = False
    """Whether torch.compile compiles the network: some minutes once, then less per tile."""
    allow_import: tuple[str, ...] = ()
    """Modules whose networks the plans, or the record of the training, may name; their code then
    runs (see `build_network`)."""
    probabilities: bool = False
    """Whether a folder's probabilities are written too, as CASE.npz and CASE.pkl."""
    skip_existing: bool = False
    """Whether cases of a folder that already have a complete segmentation keep it."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Threads that read and preprocess a folder's cases, and as many that export and write."""

    @model_validator(mode="wrap")
    @classmethod
    def _list_faults(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            faults = (re.sub(r"^\w+", r"`\g<0>=`", fault) for fault in sentences(error))
            raise PredictionError(f"Prediction settings: {'; '.join(faults)}.") from None
