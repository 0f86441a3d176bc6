"""Segmentations of a cascade's previous stage, which the next one takes as input.

nnU-Net keeps them in `<results of the previous stage>/predicted_next_stage/<configuration>`, a file
`<case>.b2nd` (or, by older versions, `<case>.npz`) per case, on the grid of the next stage.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resenc_plans.errors import FileError


def missing_predictions(folder: Path, cases: Sequence[str]) -> tuple[str, ...]:
    """The cases of which the previous stage has predicted nothing."""
    return tuple(case for case in cases if _prediction(folder, case) is None)


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


def open_prediction(folder: Path, case: str, shape: Sequence[int]) -> Prediction:
    """The labels that the previous stage predicted for a case.

    Raises
    ------
    FileError
        There is no prediction, it is damaged, or has another shape (z, y, x) than `shape`.
    """
    path = _prediction(folder, case)
    if path is None:
        raise FileError(f"{folder}: has no prediction of the previous stage for {case}.")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                labels = archive["seg"]
        else:
            import blosc2

            mapping: dict[str, Any] = {} if os.name == "nt" else {"mmap_mode": "r"}
            labels = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, **mapping)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FileError(f"{path}: damaged ({error}). Predict this case again.") from None
    if tuple(labels.shape) == (1, *shape):
        labels = labels[0]
    if tuple(labels.shape) != tuple(shape):
        raise FileError(
            f"{path}: has the shape {tuple(labels.shape)}, but the case is {tuple(shape)}. It was "
            "predicted for other plans."
        )
    return Prediction(labels)


def _prediction(folder: Path, case: str) -> Path | None:
    paths = (folder / f"{case}{suffix}" for suffix in (".b2nd", ".npz"))
    return next((path for path in paths if path.is_file()), None)
