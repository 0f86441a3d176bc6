"""nnU-Net's postprocessing.json and postprocessing.pkl of a determined post-processing."""

import os
from pathlib import Path
from typing import Any

from resenc_plans.evaluation.postprocessing.postprocess import Determination, Postprocessing
from resenc_plans.evaluation.summary import Summary
from resenc_plans.files import replace_file, to_json_text
from resenc_plans.folders import POSTPROCESSING_JSON, POSTPROCESSING_PKL
from resenc_plans.runs.postprocessing_files import json_of_steps, pickle_of_steps, read_steps


def load_postprocessing(path: str | os.PathLike[str]) -> Postprocessing:
    """Read postprocessing.json, or a postprocessing.pkl of nnU-Net.

    Raises
    ------
    FileError
        The file cannot be read, is neither of the two, or names another function.
    """
    return Postprocessing(read_steps(path))


def save_postprocessing(found: Determination, folder: str | os.PathLike[str]) -> None:
    """Write postprocessing.json, and for nnU-Net's command postprocessing.pkl, into `folder`.

    Raises
    ------
    FileError
        A file cannot be written.
    """
    steps = found.postprocessing.steps
    document = {
        "input_folder": _means(found.before),
        "postprocessed": _means(found.after),
        **json_of_steps(steps),
    }
    with replace_file(Path(folder) / POSTPROCESSING_JSON) as stream:
        stream.write(to_json_text(document).encode())
    with replace_file(Path(folder) / POSTPROCESSING_PKL) as stream:
        stream.write(pickle_of_steps(steps))


def _means(summary: Summary) -> dict[str, Any]:
    document = summary.to_dict()
    return {key: document[key] for key in ("foreground_mean", "mean")}
