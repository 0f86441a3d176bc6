"""Folds of the cross-validation."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resenc_plans.errors import DatasetError
from resenc_plans.files import read_json
from resenc_plans.words import counted


@dataclass(frozen=True)
class Split:
    """The case names of one fold: what it trains on, and what it holds out."""

    train: tuple[str, ...]
    val: tuple[str, ...]

    def to_dict(self) -> dict[str, list[str]]:
        """The fold as splits_final.json has it."""
        return {"train": list(self.train), "val": list(self.val)}


def make_splits(case_names: Sequence[str], folds: int = 5, seed: int = 12345) -> tuple[Split, ...]:
    """Folds as nnU-Net makes them (`generate_crossval_split`: a shuffled k-fold of sorted names).

    The names are used in this order; nnU-Net sorts them first.

    >>> make_splits(["a", "b", "c", "d", "e"])[0]
    Split(train=('b', 'c', 'd', 'e'), val=('a',))

    Raises
    ------
    DatasetError
        There are fewer cases than folds, or fewer than two folds.
    """
    if not 2 <= folds <= len(case_names):
        raise DatasetError(
            f"{counted(len(case_names), 'case')} cannot be split into {counted(folds, 'fold')}: "
            "there must be at least two folds, and at least one case for each."
        )
    order = np.random.RandomState(seed).permutation(len(case_names))
    splits = []
    for held_out in np.array_split(order, folds):
        chosen = set(held_out.tolist())
        train = tuple(name for i, name in enumerate(case_names) if i not in chosen)
        val = tuple(name for i, name in enumerate(case_names) if i in chosen)
        splits.append(Split(train, val))
    return tuple(splits)


def load_splits(path: str | os.PathLike[str]) -> tuple[Split, ...]:
    """Read a splits_final.json.

    Raises
    ------
    FileError
        The file cannot be read or is not JSON.
    DatasetError
        It is not a list of folds, each with lists of case names under train and val.
    """
    document = read_json(path)
    if not isinstance(document, list) or not document:
        raise DatasetError(
            f"{os.fspath(path)}: a list of folds was expected, each with train and val."
        )
    return tuple(_split(fold, number, path) for number, fold in enumerate(document))


def _split(fold: object, number: int, path: str | os.PathLike[str]) -> Split:
    names = []
    for key in ("train", "val"):
        value = fold.get(key) if isinstance(fold, dict) else None
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise DatasetError(
                f"{os.fspath(path)}, fold {number}: {key} must be a list of case names."
            )
        names.append(tuple(value))
    return Split(*names)
