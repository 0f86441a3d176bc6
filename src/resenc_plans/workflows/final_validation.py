"""The end of `train`: held-out cases are predicted and scored, as nnU-Net does."""

from typing import TYPE_CHECKING

import typer

from resenc_plans.cli.render import note, say
from resenc_plans.errors import DatasetError, FileError

if TYPE_CHECKING:
    from pathlib import Path

    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.inference.predictor import Predictor
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.runs.run_folder import RunFolder
    from resenc_plans.workflows.next_stage import NextStage


def validate(
    folder: "RunFolder",
    config: "ResolvedConfiguration",
    dataset: "Dataset",
    device: str | None,
    precision: str,
    allow_import: tuple[str, ...],
    *,
    probabilities: bool,
) -> None:
    """Predict the fold's held-out cases from the store, score them, prepare a next stage.

    Exit code 1 where a case could not be predicted or scored.
    """
    from functools import partial

    from resenc_plans.datasets.images.readers import READERS
    from resenc_plans.evaluation.validation import validate_fold
    from resenc_plans.folders import GROUND_TRUTH, SUMMARY_JSON
    from resenc_plans.inference.predictor import Predictor
    from resenc_plans.inference.settings import PredictionSettings
    from resenc_plans.runs.folds import fold_cases
    from resenc_plans.runs.stages import open_prediction, previous_predictions
    from resenc_plans.runs.stored_cases import open_store
    from resenc_plans.workflows.stored_prediction import StoredPredictor

    preprocessed, store = config.plans.folder, open_store(config)
    cases = fold_cases(preprocessed, store, folder.fold).val
    previous = previous_predictions(config, dataset, cases)
    references = preprocessed / GROUND_TRUTH
    if not references.is_dir():
        references = dataset.folder / "labelsTr"
    if not references.is_dir():
        raise DatasetError(
            f"{preprocessed}: has no {GROUND_TRUTH}, so the held-out cases cannot be scored. Name "
            "the raw dataset, or train with --no-validation."
        )
    say(f"Predicting {len(cases)} held-out cases.")
    predictor = Predictor.from_folder(
        folder.model,
        (folder.fold,),
        settings=PredictionSettings(
            device=device,
            precision=None if precision == "auto" else precision,
            allow_import=allow_import,
        ),
    )
    following = _following(predictor, preprocessed)
    stored = StoredPredictor(
        predictor,
        store,
        None if previous is None else partial(open_prediction, previous),
        following,
    )
    reader = config.plans.image_reader_writer
    found = validate_fold(
        folder.model,
        folder.fold,
        cases,
        references,
        stored,
        reader=reader if reader in READERS else None,
        probabilities=probabilities,
    )
    if found.summary is not None:
        mean = found.summary.foreground_mean["Dice"]
        target = folder.validation / SUMMARY_JSON
        say(f"Dice of {len(found.summary.cases)} held-out cases: {mean:.4f} ({target})")
    for stage in following:
        say(f"Predictions for {stage.name}: {stage.folder}")
    for problem in found.problems:
        note(f"{problem.case}: {problem.reason}")
    if found.problems:
        raise typer.Exit(1)


def _following(predictor: "Predictor", preprocessed: "Path") -> "tuple[NextStage, ...]":
    """The next stages; one that is not preprocessed must not cost the validation."""
    from resenc_plans.workflows.next_stage import next_stages

    try:
        return next_stages(predictor, preprocessed)
    except FileError as error:
        note(f"Nothing is predicted for the next stage. {error}")
        return ()
