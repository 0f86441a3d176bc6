"""Segmentations of a cascade's previous stage, which the next one takes as input.

nnU-Net keeps them in `<results of the previous stage>/predicted_next_stage/<configuration>`, a file
`<case>.b2nd` (or, by older versions, `<case>.npz`) per case, on the grid of the next stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError, ModelError
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.store.case_store import (
    case_file,
    load_numpy,
    open_array,
    write_labels,
)
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.words import counted

_SUFFIX, _FORMER_SUFFIX = ".b2nd", ".npz"
_REMEDY = "Predict this case again."


@dataclass(frozen=True)
class Prediction:
    """Labels of the previous stage, stored (z, y, x), seen as (1, z, y, x) like other labels.

    They are stored unsigned, but come as int16, so that -1 can mark what lies outside.
    """

    stored: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (1, z, y, x)."""
        return (1, *self.stored.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the labels."""
        return np.dtype(np.int16)

    def __getitem__(self, item: tuple[slice, ...], /) -> Any:
        """A part of the labels (1, z, y, x); of a file, only its blocks are read."""
        return np.asarray(self.stored[item[1:]]).astype(np.int16)[None]


def previous_predictions(
    config: ResolvedConfiguration, dataset: Dataset, cases: tuple[str, ...], name: str | None = None
) -> Path | None:
    """Where the previous stage of a cascade has put its segmentations, None without one.

    Among the models of this `name`, if one of them is the previous stage, else nnUNetTrainer's.

    Raises
    ------
    ModelError
        Some are missing; the message says how they are made.
    """
    if config.previous_stage is None:
        return None
    model = ModelFolder.of(config, dataset, config.previous_stage, name)
    if not model.folder.is_dir():
        model = ModelFolder.of(config, dataset, config.previous_stage)
    folder = model.next_stage(config.name)
    missing = missing_predictions(folder, cases)
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of {counted(len(cases), 'case has', 'cases have')} no "
            f"prediction of {config.previous_stage} "
            f"({', '.join(missing[:3])}{' …' if missing[3:] else ''}). Train "
            f"{config.previous_stage} for all folds first; its final validation makes them."
        )
    return folder


def missing_predictions(folder: Path, cases: Sequence[str]) -> tuple[str, ...]:
    """The cases of which the previous stage has predicted nothing."""
    return tuple(case for case in cases if _prediction(folder, case) is None)


def open_prediction(folder: Path, case: str, shape: Sequence[int]) -> Prediction:
    """The labels that the previous stage predicted for a case.

    Raises
    ------
    ModelError
        There is no prediction, it is damaged, or has another shape (z, y, x) than `shape`.
    """
    path = _prediction(folder, case)
    if path is None:
        raise ModelError(f"{folder}: has no prediction of the previous stage for {case}.")
    try:
        labels: Any = (
            load_numpy(path, "seg", _REMEDY)
            if path.suffix == _FORMER_SUFFIX
            else open_array(path, _REMEDY)
        )
    except FileError as error:
        raise ModelError(str(error)) from None
    if tuple(labels.shape) == (1, *shape):
        labels = labels[0]
    if tuple(labels.shape) != tuple(shape):
        raise ModelError(
            f"{path}: has the shape {tuple(labels.shape)}, but the case is {tuple(shape)}. It was "
            "predicted for other plans."
        )
    return Prediction(labels)


def write_prediction(folder: Path, case: str, labels: npt.NDArray[Any]) -> None:
    """Store the labels (z, y, x) of a case for the next stage.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    write_labels(case_file(folder, case, _SUFFIX), labels)


def _prediction(folder: Path, case: str) -> Path | None:
    paths = (case_file(folder, case, suffix) for suffix in (_SUFFIX, _FORMER_SUFFIX))
    return next((path for path in paths if path.is_file()), None)
