"""Final validation: predict the cases that a fold held out, and evaluate them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.segmentation_files import npz_of, segmentation_file
from resenc_plans.errors import EvaluationError
from resenc_plans.evaluation.chosen_metrics import METRICS_JSON
from resenc_plans.evaluation.evaluate import Evaluation, compare_folders
from resenc_plans.evaluation.surface import SURFACE_JSON
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.files import inside, make_folder
from resenc_plans.folders import DATASET_JSON, SUMMARY_JSON
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.validation_record import VALIDATION_JSON


class CasePredictor(Protocol):
    """What predicts cases by their names, such as `StoredPredictor`."""

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> Sequence[CaseProblem]:
        """Write a segmentation of every case into `target`; returns the cases that failed."""
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
    on_case: Callable[[str], object] | None = None,
) -> Evaluation:
    """Predict held-out cases into `fold_X/validation`, and write summary.json there.

    This is nnU-Net's `perform_actual_validation`. What an earlier validation left of these cases is
    removed first, probabilities, summary.json and further metrics included. summary.json covers
    these cases only, whatever else lies in the folder. A case that cannot be predicted or evaluated
    is among the result's problems; if there are no others, there is no summary.

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
        Whether to write probabilities too, which ensembles need.
    workers
        Threads that evaluate.
    on_case
        Called with the file name of each evaluated case.

    Raises
    ------
    EvaluationError
        There is no case.
    """
    if not cases:
        raise EvaluationError(
            f"Fold {fold}: holds out no case, so there is nothing to validate on."
        )
    dataset_json = DatasetJson.load(Path(model_folder) / DATASET_JSON)
    target = inside(Path(model_folder), RunFolder(Path(model_folder), fold).validation)
    files = [segmentation_file(target, case, dataset_json.file_ending) for case in cases]
    make_folder(target)
    scores = target / SUMMARY_JSON, target / SURFACE_JSON, target / METRICS_JSON
    probabilities_of = [npz_of(file) for file in files]
    properties = [file.with_suffix(".pkl") for file in probabilities_of]
    for stale in (target / VALIDATION_JSON, *scores, *files, *probabilities_of, *properties):
        stale.unlink(missing_ok=True)
    failed = predictor.predict_cases(cases, target, probabilities=probabilities)
    task = EvaluationTask.of_dataset(dataset_json)
    if reader is not None:
        task = replace(task, reader=reader)
    evaluation = compare_folders(
        target,
        references,
        task,
        names=[file.name for file in files],
        workers=workers,
        on_case=on_case,
    )
    if evaluation.summary is not None:
        evaluation.summary.save(target / SUMMARY_JSON)
    not_scored = {problem.case: problem.reason for problem in evaluation.problems}
    not_predicted = {problem.case + dataset_json.file_ending: problem.reason for problem in failed}
    problems = (not_scored | not_predicted).items()
    return replace(
        evaluation, problems=tuple(CaseProblem(case, reason) for case, reason in problems)
    )
