"""Segmentations of a cascade's previous stage, which the next one takes as input.

nnU-Net keeps them in `<results of the previous stage>/predicted_next_stage/<configuration>`, a file
`<case>.b2nd` (or, by older versions, `<case>.npz`) per case, on the grid of the next stage.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resenc_plans.errors import FileError


def missing_predictions(folder: Path, cases: Sequence[str]) -> tuple[str, ...]:
    """The cases of which the previous stage has predicted nothing."""
    return tuple(case for case in cases if _prediction(folder, case) is None)


def open_prediction(folder: Path, case: str, shape: Sequence[int]) -> Any:
    """The labels (1, z, y, x) that the previous stage predicted for a case.

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

            labels = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})[:]
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FileError(f"{path}: damaged ({error}). Predict this case again.") from None
    if labels.shape[-3:] != tuple(shape):
        raise FileError(
            f"{path}: has the shape {labels.shape[-3:]}, but the case is {tuple(shape)}. It was "
            "predicted for other plans."
        )
    return labels.reshape(1, *labels.shape[-3:])


def _prediction(folder: Path, case: str) -> Path | None:
    paths = (folder / f"{case}{suffix}" for suffix in (".b2nd", ".npz"))
    return next((path for path in paths if path.is_file()), None)
