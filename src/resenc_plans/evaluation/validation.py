"""Final validation: predict the cases that a fold held out, and score them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.evaluate import Evaluation, Problem, Question, evaluate_folder
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.folders import DATASET_JSON, SUMMARY_JSON
from resenc_plans.runs.run_folder import RunFolder


class CasePredictor(Protocol):
    """What predicts cases by their names, such as `StoredPredictor`."""

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> Sequence[CaseProblem]:
        """Write a segmentation of every case into `target`; what failed, and why."""
        ...


def validate_fold(
    model_folder: str | os.PathLike[str],
    fold: int | str,
    cases: Sequence[str],
    references: str | os.PathLike[str],
    predictor: CasePredictor,
    *,
    reader: str | None = None,
    probabilities: bool = False,
    workers: int | None = None,
    on_case: Callable[[str], object] = lambda _: None,
) -> Evaluation:
    """Predict held-out cases into `fold_X/validation`, and write summary.json there.

    This is nnU-Net's `perform_actual_validation`. `summary.json` holds the cases given here and no
    others that lie in the folder. A case that cannot be predicted or scored is among the result's
    problems; where none can, there is no summary.

    Parameters
    ----------
    model_folder
        `TRAINER__PLANS__CONFIGURATION`, with dataset.json.
    fold
        Its number, or "all".
    cases
        The names of the held-out cases.
    references
        The folder of their segmentations, such as `gt_segmentations` of the preprocessed data.
    predictor
        It has loaded this fold's checkpoint.
    reader
        nnU-Net's reader for the segmentations; by default dataset.json and file ending decide.
    probabilities
        Whether probabilities are kept too, as ensembles need them.
    workers
        Threads that score.
    on_case
        Called with the file name of each case that is scored.

    Raises
    ------
    DatasetError
        There is no case.
    """
    if not cases:
        raise DatasetError(f"Fold {fold}: holds out no case, so there is nothing to validate on.")
    dataset_json = DatasetJson.load(Path(model_folder) / DATASET_JSON)
    target = RunFolder(Path(model_folder), fold).validation
    target.mkdir(parents=True, exist_ok=True)
    names = [case + dataset_json.file_ending for case in cases]
    for name in names:
        (target / name).unlink(missing_ok=True)
    failed = predictor.predict_cases(cases, target, probabilities=probabilities)
    question = Question.of_dataset(dataset_json)
    if reader is not None:
        question = replace(question, reader=reader)
    found = evaluate_folder(
        target, references, question, names=names, workers=workers, on_case=on_case
    )
    if found.summary is not None:
        found.summary.save(target / SUMMARY_JSON)
    reasons = {problem.case + dataset_json.file_ending: problem.reason for problem in failed}
    scored = {problem.case: problem.reason for problem in found.problems}
    problems = tuple(Problem(case, reason) for case, reason in (scored | reasons).items())
    return replace(found, problems=problems)
