"""Which cases a fold trains on and which it holds out, and which of them are stored."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import TypeAdapter, ValidationError

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.splits import Split, load_splits, make_splits
from resenc_plans.errors import DatasetError, FileError, PreprocessingError
from resenc_plans.files import read_json, write_json
from resenc_plans.folders import SPLITS_JSON
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.reprs import listed
from resenc_plans.runs.dataset_cases import DatasetCases, dataset_cases
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stored_cases import mended_by_preprocessing
from resenc_plans.words import counted

ALL = "all"
FOLDS = 5
CASES_JSON = "cases.json"
"""The cases of a run, in its folder."""
MAX_NAMES = 10
"""Cases that a message lists; of others it says how many there are."""

_NOT_IN_DATASET = (
    "stored case is not in the dataset and takes",
    "stored cases are not in the dataset and take",
)
_IN_NO_FOLD = (
    "case of the dataset is in no fold and takes",
    "cases of the dataset are in no fold and take",
)
_SEED = 12345
_SHARE_OF_TRAINING = 0.8


@dataclass(frozen=True, kw_only=True)
class FoldCases:
    """The cases of a fold that are used, and those that are left out."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Cases of the fold that are not stored."""
    unnamed: int = 0
    """Further cases that are not stored, of which only the number is known."""
    notes: tuple[str, ...] = ()
    """What a person should know: which cases take no part."""

    @property
    def all(self) -> tuple[str, ...]:
        """Cases to train on, then those held out."""
        return (*self.train, *self.val)

    @classmethod
    def load(cls, run: Path) -> Self | None:
        """The cases that a run used, as cases.json in its folder says; None where there is none.

        Raises
        ------
        FileError
            The file is damaged.
        """
        path = run / CASES_JSON
        if not path.is_file():
            return None
        try:
            return TypeAdapter(cls).validate_python(read_json(path))
        except ValidationError:
            raise FileError(f"{path}: does not hold the cases of a run.") from None

    def save(self, run: Path) -> None:
        """Write cases.json into the folder of a run.

        Raises
        ------
        FileError
            It cannot be written.
        """
        write_json(
            run / CASES_JSON,
            {
                "train": list(self.train),
                "val": list(self.val),
                "missing": list(self.missing),
                "unnamed": self.unnamed,
            },
        )


def stored_fold(
    config: ResolvedConfiguration,
    dataset: Dataset,
    store: CaseStore,
    fold: int | str,
    *,
    allow_missing_cases: bool = False,
    write: bool = True,
) -> FoldCases:
    """The cases of a fold, which is made from the dataset's cases, as far as they are stored.

    Parameters
    ----------
    config
        What is trained; splits_final.json lies beside its plans.
    dataset
        Its cases are split where there is no splits_final.json.
    store
        The stored cases.
    fold
        Its number, or `all`.
    allow_missing_cases
        Whether cases may be missing from the store; they are left out.
    write
        Whether a split that is made is written. It holds all cases, also those that are missing.

    Raises
    ------
    PreprocessingError
        Cases are missing.
    DatasetError
        As `fold_cases`; or none is left to train on or to hold out.
    """
    preprocessed, stored = config.plans.folder, set(store)
    known = dataset_cases(dataset, preprocessed, stored)
    is_decided = fold != ALL and (preprocessed / SPLITS_JSON).is_file()
    split = fold_cases(preprocessed, known.names, fold, write=False)
    names = sorted({*split.train, *split.val})
    missing = tuple(name for name in names if name not in stored)
    unnamed = 0 if is_decided else known.unnamed
    if missing or unnamed:
        lack = _lack(store, missing, unnamed, len(names) + unnamed)
        if not allow_missing_cases:
            with mended_by_preprocessing(config):
                raise PreprocessingError(
                    f"{lack} Preprocess them, or train without them (`allow_missing_cases=`)."
                )
    used = FoldCases(
        train=tuple(name for name in split.train if name in stored),
        val=tuple(name for name in split.val if name in stored),
        missing=missing,
        unnamed=unnamed,
        notes=(
            *([f"{lack} They take no part."] if missing or unnamed else []),
            *_unused(preprocessed, known, store.folder, stored - {*names}, is_decided=is_decided),
        ),
    )
    if not used.train or not used.val:
        where = preprocessed / SPLITS_JSON if is_decided else store.folder
        raise DatasetError(
            f"{where}: fold {fold} has no stored cases to train on, or none held out."
        )
    if write:
        fold_cases(preprocessed, known.names, fold)
    return used


def held_out_cases(
    config: ResolvedConfiguration,
    dataset: Dataset,
    store: CaseStore,
    run: RunFolder,
    *,
    allow_missing_cases: bool = False,
) -> tuple[str, ...]:
    """The cases that a trained fold held out, as far as they are stored.

    They are those of its cases.json, whatever the split says by now; without that file, as in
    nnU-Net's folders, those of `stored_fold`, which takes the same parameters.

    Raises
    ------
    PreprocessingError
        Cases are missing.
    DatasetError
        As `stored_fold`.
    FileError
        cases.json is damaged.
    """
    recorded = FoldCases.load(run.path)
    if recorded is None:
        return stored_fold(
            config, dataset, store, run.fold, allow_missing_cases=allow_missing_cases
        ).val
    stored = set(store)
    missing = [name for name in recorded.val if name not in stored]
    if missing and not allow_missing_cases:
        with mended_by_preprocessing(config):
            raise PreprocessingError(
                f"{_lack(store, missing, 0, len(recorded.val))} Preprocess them, or validate "
                "without them (`allow_missing_cases=`)."
            )
    return tuple(name for name in recorded.val if name in stored)


def fold_cases(
    preprocessed: Path, cases: Collection[str], fold: int | str, *, write: bool = True
) -> Split:
    """The split of a fold: of splits_final.json, which is made (5 folds) where it does not exist.

    `cases` are all cases of the dataset, sorted. `write` is whether a file that is made is written,
    too. Fold `all` trains and validates on every case. A fold beyond those of the file is a random
    split of 80 to 20, as nnU-Net makes it.

    Raises
    ------
    DatasetError
        There are too few cases for five folds, the file is damaged, or the fold is neither a number
        from 0 nor `all`.
    """
    if fold != ALL and not (isinstance(fold, int) and fold >= 0):
        raise DatasetError(f"Fold {fold!r}: a number from 0, or {ALL}, is needed.")
    names = list(cases)
    if fold == ALL:
        return Split(tuple(names), tuple(names))
    path = preprocessed / SPLITS_JSON
    if path.is_file():
        splits = load_splits(path)
    elif len(names) < FOLDS:
        raise DatasetError(
            f"{preprocessed}: {counted(len(names), 'case is', 'cases are')} too few for nnU-Net's "
            f"{FOLDS} folds. Train fold all, or write {path}: a list with "
            '{"train": [cases], "val": [cases]} for each fold.'
        )
    else:
        splits = make_splits(names, FOLDS)
        if write:
            write_json(path, [split.to_dict() for split in splits])
    number = int(fold)
    return splits[number] if number < len(splits) else _random_split(names, number)


def is_random(preprocessed: Path, fold: int | str) -> bool:
    """Whether a fold is beyond those of splits_final.json, hence a random split."""
    return isinstance(fold, int) and fold >= count_folds(preprocessed)


def count_folds(preprocessed: Path) -> int:
    """The folds of splits_final.json, or those that nnU-Net makes where there is none."""
    path = preprocessed / SPLITS_JSON
    return len(load_splits(path)) if path.is_file() else FOLDS


def left_out_of_one(one: FoldCases, other: FoldCases) -> tuple[str, ...]:
    """Cases that one of two runs used, and that were missing in the other, sorted."""
    pairs = (one, other), (other, one)
    return tuple(sorted({name for a, b in pairs for name in {*a.missing}.intersection(b.all)}))


def case_changes(before: FoldCases, now: FoldCases) -> Iterator[str]:
    """In which cases a fold differs from what it was, as clauses; their order does not matter."""
    for what, old, new in (
        ("cases to train on", before.train, now.train),
        ("held-out cases", before.val, now.val),
    ):
        more, less = sorted({*new} - {*old}), sorted({*old} - {*new})
        parts = [
            f"{word} {listed(names, MAX_NAMES)}"
            for word, names in (("now also", more), ("no longer", less))
            if names
        ]
        if parts:
            yield f"{what}: {', '.join(parts)}"


def _random_split(names: Sequence[str], fold: int) -> Split:
    random = np.random.RandomState(_SEED + fold)
    chosen = random.choice(len(names), int(len(names) * _SHARE_OF_TRAINING), replace=False)
    train = tuple(names[index] for index in chosen)
    return Split(train, tuple(name for name in names if name not in train))


def _lack(store: CaseStore, missing: Sequence[str], unnamed: int, total: int) -> str:
    """Which cases are not stored, as a sentence."""
    text = (
        f"{store.folder}: {len(missing) + unnamed} of {counted(total, 'case is', 'cases are')} not "
        "preprocessed"
    )
    if missing:
        text += f": {listed(missing, MAX_NAMES)}"
    if unnamed:
        text += f" ({unnamed} of unknown names: numTraining of dataset.json counts them)"
    return f"{text}."


def _unused(
    preprocessed: Path, known: DatasetCases, store: Path, others: set[str], *, is_decided: bool
) -> Iterator[str]:
    """Sentences on cases that the splits pass over; `others` are stored, but not of the fold."""
    if not is_decided:
        if others:
            yield (
                f"{store}: {counted(len(others), *_NOT_IN_DATASET)} no part: "
                f"{listed(sorted(others), MAX_NAMES)}."
            )
        return
    path = preprocessed / SPLITS_JSON
    splits = load_splits(path)
    left_out = sorted({*known.names}.difference(*((*one.train, *one.val) for one in splits)))
    if left_out:
        yield (
            f"{path}: {counted(len(left_out), *_IN_NO_FOLD)} no part: "
            f"{listed(left_out, MAX_NAMES)}."
        )
