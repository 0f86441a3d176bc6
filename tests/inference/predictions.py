"""Folders of random probabilities, as predict leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from resenc_plans.safe_pickle import dump_pickle

LABELS = {"background": 0, "a": 1, "b": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2}
ITK = {"spacing": (0.9, 1.2, 3.0), "origin": (1.0, 2.0, 3.0), "direction": tuple(np.eye(3).ravel())}
PROPERTIES = {"spacing": (3.0, 1.2, 0.9), "sitk_stuff": ITK}
SHAPE = (5, 6, 7)


def prediction(
    folder: Path,
    seed: int,
    labels: Mapping[str, Any] = LABELS,
    cases: Sequence[str] = ("one", "two"),
    dtype: DTypeLike = np.float32,
) -> Path:
    """Write the probabilities of some cases, and return the folder."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    heads = 3 if labels is LABELS else 2
    document = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if labels is REGIONS:
        document["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(document))
    for case in cases:
        values = random.random((heads, *SHAPE)).astype(dtype)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
        (folder / f"{case}.pkl").write_bytes(dump_pickle(PROPERTIES))
    return folder


def probabilities(folder: Path, case: str = "one") -> np.ndarray:
    """The stored probabilities of a case."""
    return np.load(folder / f"{case}.npz")["probabilities"]
