"""Which predicted cases the model was trained on, as far as its folds say."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.runs.folds import ALL, FoldCases
from resenc_plans.runs.model_folder import (
    fold_of_validation,
    folds_of_cross_validation,
    run_of,
)
from resenc_plans.runs.prediction_record import recorded_runs


@dataclass(frozen=True)
class TrainedCases:
    """Those of some predicted cases that are known to have been trained on."""

    cases: tuple[str, ...]
    is_recorded: bool
    """Whether all is known: otherwise further cases may have been trained on."""


def cases_trained_on(predictions: Path, cases: Collection[str]) -> TrainedCases:
    """Which of some predicted cases were trained on.

    Predictions are of the fold whose folder they are in, else of those that their record names. A
    fold says in cases.json what it was trained on; fold `all` holds nothing out, and the validation
    of any other is of the cases that it held out, also where those of several are collected.

    Raises
    ------
    FileError
        A cases.json is damaged.
    """
    run = run_of(predictions)
    fold, collected = fold_of_validation(predictions), folds_of_cross_validation(predictions)
    if fold == ALL or ALL in collected:
        return TrainedCases(tuple(cases), is_recorded=True)
    runs = recorded_runs(predictions) if run is None else (run,)
    records = [FoldCases.load(one.path) for one in runs]
    trained = {case for record in records if record is not None for case in record.train}
    return TrainedCases(
        tuple(case for case in cases if case in trained),
        is_recorded=fold is not None or bool(collected) or (bool(records) and None not in records),
    )
