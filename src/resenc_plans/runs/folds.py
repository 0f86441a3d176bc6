"""Which cases a fold trains on and which it holds out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resenc_plans.datasets.splits import Split, load_splits, make_splits
from resenc_plans.errors import DatasetError
from resenc_plans.files import write_json
from resenc_plans.folders import SPLITS_JSON
from resenc_plans.preprocessing.store.case_store import CaseStore

ALL = "all"
FOLDS = 5

_SEED = 12345
_SHARE_OF_TRAINING = 0.8


def fold_cases(
    preprocessed: Path, store: CaseStore, fold: int | str, *, write: bool = True
) -> Split:
    """The split of a fold: of splits_final.json, which is made (5 folds) where it does not exist.

    `write` is whether one that is made is written, too. Fold `all` trains and validates on every
    case. A fold beyond those of the file is a random split of 80 to 20, as nnU-Net makes it.

    Raises
    ------
    DatasetError
        Cases of the split are not in the store, there are too few for five folds, the file is
        damaged, or the fold is neither a number from 0 nor `all`.
    """
    if fold != ALL and not (isinstance(fold, int) and fold >= 0):
        raise DatasetError(f"Fold {fold!r}: a number from 0, or {ALL}, is needed.")
    names = list(store)
    if fold == ALL:
        return Split(tuple(names), tuple(names))
    path = preprocessed / SPLITS_JSON
    if path.is_file():
        splits = load_splits(path)
    elif len(names) < FOLDS:
        raise DatasetError(
            f"{store.folder}: {len(names)} cases are too few for nnU-Net's {FOLDS} folds. Train "
            f"fold all, or write {path}: a list with "
            '{"train": [cases], "val": [cases]} for each fold.'
        )
    else:
        splits = make_splits(names, FOLDS)
        if write:
            write_json(path, [split.to_dict() for split in splits])
    number = int(fold)
    split = splits[number] if number < len(splits) else _random_split(names, number)
    _check(split, names, store, path)
    return split


def is_random(preprocessed: Path, fold: int | str) -> bool:
    """Whether a fold is beyond those of splits_final.json, hence a random split."""
    path = preprocessed / SPLITS_JSON
    return isinstance(fold, int) and fold >= (len(load_splits(path)) if path.is_file() else FOLDS)


def _random_split(names: Sequence[str], fold: int) -> Split:
    random = np.random.RandomState(_SEED + fold)
    chosen = random.choice(len(names), int(len(names) * _SHARE_OF_TRAINING), replace=False)
    train = tuple(names[index] for index in chosen)
    return Split(train, tuple(name for name in names if name not in train))


def _check(split: Split, names: Sequence[str], store: CaseStore, path: Path) -> None:
    known = set(names)
    missing = [name for name in (*split.train, *split.val) if name not in known]
    if missing:
        raise DatasetError(
            f"{store.folder}: lacks {len(missing)} cases that {path.name} names "
            f"({', '.join(missing[:3])}{' …' if missing[3:] else ''}). Preprocess them first."
        )
    if not split.train or not split.val:
        raise DatasetError(f"{path}: the fold has no cases to train on, or none held out.")
