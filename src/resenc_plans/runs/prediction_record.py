"""How a folder of cases was predicted, as the file beside them says that nnU-Net writes too."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resenc_plans.errors import FileError
from resenc_plans.files import read_json, write_json
from resenc_plans.runs.model_folder import run_of
from resenc_plans.runs.run_folder import RunFolder

ARGUMENTS_JSON = "predict_from_raw_data_args.json"

_CHECKPOINTS = "checkpoints"
"""nnU-Net does not say with which model it predicted."""


def save_prediction_record(
    folder: Path, arguments: Mapping[str, Any], checkpoints: Iterable[str | os.PathLike[str]]
) -> None:
    """Write the arguments of a prediction, and the files of weights, beside its cases.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    paths = [os.fspath(Path(path).absolute()) for path in checkpoints]
    write_json(folder / ARGUMENTS_JSON, {**arguments, _CHECKPOINTS: paths})


def recorded_runs(folder: Path) -> tuple[RunFolder, ...]:
    """The folds whose checkpoints predicted the cases in a folder, as far as that is recorded."""
    path = folder / ARGUMENTS_JSON
    try:
        document = read_json(path) if path.is_file() else None
    except FileError:
        return ()
    checkpoints = document.get(_CHECKPOINTS) if isinstance(document, dict) else None
    names = checkpoints if isinstance(checkpoints, list) else []
    runs = (run_of(Path(name)) for name in names if isinstance(name, str))
    return tuple(dict.fromkeys(run for run in runs if run is not None))
