"""nnU-Net's files of post-processing, read without running code from them.

A step is the group of labels of which its function keeps the largest component.
"""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError, shown
from resenc_plans.files import read_json
from resenc_plans.safe_pickle import load_pickle

LabelGroup = Region | Sequence[Region]
"""A label, a region (tuple), or a list of these that are treated as one."""

FUNCTION = "remove_all_but_largest_component_from_segmentation"
"""The only function that nnU-Net's post-processing names."""

_MODULE = "nnunetv2.postprocessing.remove_connected_components"
_ARGUMENT = "labels_or_regions"


def read_steps(path: str | os.PathLike[str]) -> tuple[LabelGroup, ...]:
    """The steps in a postprocessing.json, or a postprocessing.pkl of nnU-Net.

    Of a pickle only plain data are taken, and the name of nnU-Net's one function, which stands for
    ours; it is read as a string, so that a pickle cannot call it.

    Raises
    ------
    FileError
        The file cannot be read, is neither of the two, or names another function.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        document = load_pickle(path, {(_MODULE, FUNCTION): FUNCTION})
        if not (isinstance(document, tuple) and len(document) == 2):
            raise FileError(f"{path}: not a postprocessing.pkl of nnU-Net 2.")
        functions, arguments = document
    else:
        document = read_json(path)
        if not isinstance(document, dict) or "postprocessing_fns" not in document:
            raise FileError(f"{path}: not a postprocessing.json, it has no postprocessing_fns.")
        functions = document["postprocessing_fns"]
        arguments = document.get("postprocessing_kwargs")
    if not (
        isinstance(functions, list)
        and isinstance(arguments, list)
        and len(functions) == len(arguments)
    ):
        raise FileError(f"{path}: functions and their arguments are not lists of one length.")
    return tuple(_step(*pair, path) for pair in zip(functions, arguments, strict=True))


def json_of_steps(steps: Sequence[LabelGroup]) -> dict[str, Any]:
    """The steps as postprocessing.json names them, beside other keys."""
    return {
        "postprocessing_fns": [FUNCTION for _ in steps],
        "postprocessing_kwargs": [{_ARGUMENT: _plain(step)} for step in steps],
    }


def pickle_of_steps(steps: Sequence[LabelGroup]) -> bytes:
    """The pickle that nnU-Net's `apply_postprocessing` loads, written without nnU-Net at hand.

    A list of as many references to its function as there are steps (`]`, `(`, `c`, `e`), then the
    list of arguments; `0x86` makes a tuple of the two.
    """
    function = f"c{_MODULE}\n{FUNCTION}\n".encode()
    arguments = pickle.dumps([{_ARGUMENT: _plain(step)} for step in steps], protocol=2)
    return b"\x80\x02](" + function * len(steps) + b"e" + arguments[2:-1] + b"\x86."


def _plain(step: LabelGroup) -> LabelGroup:
    """A label as int, a region as tuple, several as list: what nnU-Net tells apart by type."""
    return step if isinstance(step, int | tuple) else list(step)


def _step(function: Any, arguments: Any, path: Path) -> LabelGroup:
    if not isinstance(function, str) or function != FUNCTION:
        raise FileError(f"{path}: names the function {shown(function)}, only {FUNCTION} is known.")
    if not isinstance(arguments, dict) or set(arguments) - {_ARGUMENT, "background_label"}:
        raise FileError(f"{path}: the arguments of {FUNCTION} must be {_ARGUMENT} alone.")
    background = _python_integers(arguments.get("background_label", 0))
    if not isinstance(background, int) or background != 0:
        raise FileError(f"{path}: background_label must be 0.")
    step = _python_integers(arguments.get(_ARGUMENT))
    if not _is_step(step):
        raise FileError(f"{path}: {_ARGUMENT} is {shown(step)}, labels or regions were expected.")
    return step


def _is_step(value: Any) -> TypeGuard[LabelGroup]:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_step(part) for part in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _python_integers(value: Any, levels: int = 3) -> Any:
    """nnU-Net's pickles hold NumPy's integers. Labels lie in regions, and these in lists."""
    if isinstance(value, list | tuple):
        if not levels:
            return None
        return type(value)(_python_integers(part, levels - 1) for part in value)
    return int(value) if isinstance(value, np.integer) else value
