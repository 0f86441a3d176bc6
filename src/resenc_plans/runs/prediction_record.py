"""How a folder of cases was predicted, as the file beside them says that nnU-Net writes too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resenc_plans.errors import FileError, PredictionError, shown
from resenc_plans.files import read_json, write_json
from resenc_plans.runs.model_folder import run_of
from resenc_plans.runs.run_folder import RunFolder

ARGUMENTS_JSON = "predict_from_raw_data_args.json"
CHECKPOINTS = "checkpoints"
"""nnU-Net does not say with which model it predicted."""

_REPLACED = "replaced"
"""How cases may have been predicted that a run replaces, until it has replaced all."""


def begin_prediction_record(
    folder: Path,
    arguments: Mapping[str, Any],
    method: Mapping[str, Any],
    *,
    has_cases: bool,
    keeps_cases: bool,
) -> None:
    """Write beside cases how they are predicted from now on.

    Parameters
    ----------
    folder
        Receives the cases.
    arguments
        Those of the prediction, as nnU-Net names them.
    method
        What segmentations depend on, as JSON has it: `CHECKPOINTS`, the paths of the weights, and
        settings by name.
    has_cases
        Whether cases exist.
    keeps_cases
        Whether the prediction keeps some of them.

    Raises
    ------
    PredictionError
        It would keep cases that were predicted otherwise.
    FileError
        The file cannot be written.
    """
    before = _read(folder)
    earlier = {key: before[key] for key in method if key in before}
    others = [one for one in (*_replaced(before), earlier) if _differences(one, method)]
    if others and keeps_cases:
        what = ", ".join(_differences(others[-1], method))
        raise PredictionError(
            f"{folder}: has cases that were predicted with {what}, which would be kept among those "
            "of this prediction. Predict all cases anew, without `skip_existing=`, or write to "
            "another folder."
        )
    replaced = {_REPLACED: others} if others and has_cases else {}
    write_json(folder / ARGUMENTS_JSON, {**arguments, **method, **replaced})


def end_prediction_record(folder: Path) -> None:
    """Write that no case of an earlier prediction is left.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    document = _read(folder)
    if document.pop(_REPLACED, None) is not None:
        write_json(folder / ARGUMENTS_JSON, document)


def recorded_runs(folder: Path) -> tuple[RunFolder, ...]:
    """The folds whose checkpoints predicted the cases in a folder, as far as that is recorded."""
    document = _read(folder)
    names = [name for one in (*_replaced(document), document) for name in _checkpoints(one)]
    runs = (run_of(Path(name)) for name in names)
    return tuple(dict.fromkeys(run for run in runs if run is not None))


def _read(folder: Path) -> dict[str, Any]:
    """The record; nothing where there is none, or a damaged one."""
    path = folder / ARGUMENTS_JSON
    try:
        document = read_json(path) if path.is_file() else None
    except FileError:
        return {}
    return document if isinstance(document, dict) else {}


def _differences(other: Mapping[str, Any], method: Mapping[str, Any]) -> list[str]:
    return [f"{key} {shown(value)}" for key, value in other.items() if value != method.get(key)]


def _replaced(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    others = document.get(_REPLACED)
    return [one for one in others if isinstance(one, dict)] if isinstance(others, list) else []


def _checkpoints(document: Mapping[str, Any]) -> list[str]:
    names = document.get(CHECKPOINTS)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
