"""Which predicted cases the model was trained on, as far as its folds say."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from resenc_plans.runs.folds import ALL, FoldCases
from resenc_plans.runs.model_folder import run_of
from resenc_plans.runs.prediction_record import recorded_runs


def cases_trained_on(predictions: Path, cases: Iterable[str]) -> Sequence[str]:
    """Those of some predicted cases that are known to have been trained on.

    Predictions are of the fold whose folder they are in, else of those that their record names. A
    fold says in cases.json what it was trained on; fold `all` holds nothing out.

    Raises
    ------
    FileError
        A cases.json is damaged.
    """
    run = run_of(predictions)
    if run is not None and run.fold == ALL and predictions.absolute() == run.validation.absolute():
        return tuple(cases)
    records = [
        FoldCases.load(one.path) for one in (recorded_runs(predictions) if run is None else (run,))
    ]
    trained = {case for record in records if record is not None for case in record.train}
    return tuple(case for case in cases if case in trained)
