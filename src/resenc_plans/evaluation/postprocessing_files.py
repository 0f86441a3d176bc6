"""nnU-Net's postprocessing.json and postprocessing.pkl, read without running code from them."""

import os
import pickle
from pathlib import Path
from typing import Any, TypeGuard

from resenc_plans.errors import FileError
from resenc_plans.evaluation.components import Selection
from resenc_plans.evaluation.postprocess import Determination, Postprocessing
from resenc_plans.evaluation.summary import Summary
from resenc_plans.files import read_json, replace_file, to_json_text

FUNCTION = "remove_all_but_largest_component_from_segmentation"
"""The only function that nnU-Net's post-processing names."""

_MODULE = "nnunetv2.postprocessing.remove_connected_components"
_ARGUMENT = "labels_or_regions"
_MAX_BYTES = 1024**2


def load_postprocessing(path: str | os.PathLike[str]) -> Postprocessing:
    """Read postprocessing.json, or a postprocessing.pkl of nnU-Net.

    Of a pickle only plain containers, numbers and strings are taken, and the name of nnU-Net's one
    function, which stands for ours.

    Raises
    ------
    FileError
        The file cannot be read, is neither of the two, or names another function.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        document = _load_pickle(path)
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
    return Postprocessing(
        tuple(_step(*pair, path) for pair in zip(functions, arguments, strict=True))
    )


def save_postprocessing(found: Determination, folder: str | os.PathLike[str]) -> None:
    """Write postprocessing.json, and for nnU-Net's command postprocessing.pkl, into `folder`.

    Raises
    ------
    FileError
        A file cannot be written.
    """
    steps = [_plain(step) for step in found.postprocessing.steps]
    document = {
        "input_folder": _means(found.before),
        "postprocessed": _means(found.after),
        "postprocessing_fns": [FUNCTION for _ in steps],
        "postprocessing_kwargs": [{_ARGUMENT: step} for step in steps],
    }
    with replace_file(Path(folder) / "postprocessing.json") as stream:
        stream.write(to_json_text(document).encode())
    with replace_file(Path(folder) / "postprocessing.pkl") as stream:
        stream.write(_pickled(steps))


def _means(summary: Summary) -> dict[str, Any]:
    document = summary.to_dict()
    return {key: document[key] for key in ("foreground_mean", "mean")}


def _plain(step: Selection) -> Selection:
    """A label as int, a region as tuple, several as list: what nnU-Net tells apart by type."""
    return step if isinstance(step, int | tuple) else list(step)


def _pickled(steps: list[Selection]) -> bytes:
    """The pickle that nnU-Net's `apply_postprocessing` loads, written without nnU-Net at hand.

    A list of as many references to its function as there are steps (`]`, `(`, `c`, `e`), then the
    list of arguments; `0x86` makes a tuple of the two.
    """
    function = f"c{_MODULE}\n{FUNCTION}\n".encode()
    arguments = pickle.dumps([{_ARGUMENT: step} for step in steps], protocol=2)
    return b"\x80\x02](" + function * len(steps) + b"e" + arguments[2:-1] + b"\x86."


def _step(function: Any, arguments: Any, path: Path) -> Selection:
    if function != FUNCTION:
        raise FileError(f"{path}: names the function {function!r}, only {FUNCTION} is known.")
    if not isinstance(arguments, dict) or set(arguments) - {_ARGUMENT, "background_label"}:
        raise FileError(f"{path}: the arguments of {FUNCTION} must be {_ARGUMENT} alone.")
    if arguments.get("background_label", 0) != 0:
        raise FileError(f"{path}: background_label must be 0.")
    selection = arguments.get(_ARGUMENT)
    if not _is_selection(selection):
        raise FileError(f"{path}: {_ARGUMENT} is {selection!r}, labels or regions were expected.")
    return selection


def _is_selection(value: Any) -> TypeGuard[Selection]:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_selection(part) for part in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _load_pickle(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FileError(f"{path}: too large for a postprocessing.pkl, so not read.")
        with path.open("rb") as stream:
            return _NameOnlyUnpickler(stream).load()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file.") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from None
    except FileError:
        raise
    except _RefusedError as refused:
        raise FileError(
            f"{path}: asks to load {refused}. A postprocessing.pkl names {FUNCTION} and nothing "
            "else; do not open this file with tools that load more."
        ) from None
    except Exception as error:
        raise FileError(f"{path}: damaged, or no pickle: {error}") from None


class _RefusedError(Exception):
    """A pickle asks for something that is not allowed."""


class _NameOnlyUnpickler(pickle.Unpickler):
    """An unpickler that gives the name of nnU-Net's function for the function, and knows no more.

    A string cannot be called, so that a pickle that calls the function fails.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != (_MODULE, FUNCTION):
            raise _RefusedError(f"{module}.{name}")
        return FUNCTION
