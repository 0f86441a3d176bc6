"""The end of a training: held-out cases are predicted from the store and scored, as in nnU-Net."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.evaluation.evaluate import Evaluation
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.validation import validate_fold
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.folders import FINAL_CHECKPOINT, GROUND_TRUTH
from resenc_plans.inference.export.case import ExportRecipe
from resenc_plans.inference.network_input import input_recipe
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.nnunet_parts import reader_of
from resenc_plans.runs.folds import held_out_cases
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stages import open_prediction, previous_predictions
from resenc_plans.runs.stored_cases import open_store
from resenc_plans.runs.validation_record import ValidationRecord
from resenc_plans.training.ranks import ALONE, Ranks
from resenc_plans.training.records import track_scores
from resenc_plans.workflows.next_stage import NextStage, next_stages
from resenc_plans.workflows.shared_prediction import SharedPredictor, predict_share
from resenc_plans.workflows.stored_prediction import StoredPredictor

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutValidation:
    """The scores of a fold's held-out cases, and the stages that got their input in passing."""

    evaluation: Evaluation
    next_stages: tuple[NextStage, ...]


def refuse_unpredictable(config: ResolvedConfiguration, dataset: Dataset) -> None:
    """Refuse, before a training begins, plans with which its result could not be predicted.

    Raises
    ------
    ConfigurationError
        The reader, the preprocessor or a part of it is unknown.
    """
    reader_of(config.plans)
    input_recipe(config)
    ExportRecipe.of(config, dataset.labels)


def validate_held_out(
    config: ResolvedConfiguration,
    dataset: Dataset,
    folder: RunFolder,
    settings: PredictionSettings | None = None,
    *,
    name: str | None = None,
    network: "nn.Module | None" = None,
    probabilities: bool = False,
    allow_missing_cases: bool = False,
    ranks: Ranks = ALONE,
    on_cases: Callable[[tuple[str, ...]], object] | None = None,
) -> HeldOutValidation:
    """Predict the fold's held-out cases from the store, score them, prepare a next stage.

    The cases are those that its training has recorded, or, where nnU-Net trained it, the split's.
    Segmentations and summary.json go to the fold's folder `validation`, the mean scores to the
    trackers of its training. A case that cannot be predicted or scored is among the problems of
    the evaluation. A next stage that is not
    preprocessed is skipped, with a warning in the log.

    Parameters
    ----------
    config
        What was trained; its stored cases lie beside its plans file.
    dataset
        Its labelsTr are the references where the preprocessed folder has no gt_segmentations.
    folder
        The trained fold.
    settings
        How to predict.
    name
        That of the model, among which a cascade's previous stage is looked for first.
    network
        The one that was trained, where it is not the one that the plans name.
    probabilities
        Whether to keep probabilities too, which ensembles need.
    allow_missing_cases
        Whether cases of the fold may be missing from the stored ones; they are left out.
    ranks
        The processes that have trained together, of which this is the first; the others call
        `validate_together`.
    on_cases
        Called with the names of the held-out cases before they are predicted.

    Raises
    ------
    DatasetError
        There are no references.
    LockedError
        Another process trains or validates this fold.
    PreprocessingError
        Cases of the fold are not stored.
    ModelError
        The trained model, or predictions of a cascade's previous stage, are missing or damaged.
    FileError
        The fold's list of cases is damaged.
    TrainingError
        Another process ended before its cases were predicted.
    """
    store = open_store(config)
    cases = held_out_cases(config, dataset, store, folder, allow_missing_cases=allow_missing_cases)
    previous = previous_predictions(config, dataset, cases, name)
    references = references_of(config.plans.folder, dataset)
    if on_cases is not None:
        on_cases(cases)
    reader = reader_of(config.plans)
    with folder.locked():
        stored = _stored_predictor(config, folder, settings, previous, network)
        predictor, stages = stored.predictor, stored.next_stages
        evaluation = validate_fold(
            folder.model,
            folder.fold,
            cases,
            references,
            stored if ranks.world == 1 else SharedPredictor(stored, ranks),
            reader=reader,
            probabilities=probabilities,
        )
        ValidationRecord(
            mirror_axes=predictor.mirror_axes,
            step_size=predictor.settings.step_size,
            checkpoint=predictor.settings.checkpoint,
            precision=str(predictor.autocast or "float32").removeprefix("torch."),
        ).save(folder.validation)
    if evaluation.summary is not None:
        track_scores(folder, config, dataset, _scores(evaluation.summary))
    return HeldOutValidation(evaluation, stages)


def validate_together(
    config: ResolvedConfiguration,
    dataset: Dataset,
    folder: RunFolder,
    settings: PredictionSettings | None = None,
    *,
    ranks: Ranks,
    name: str | None = None,
    network: "nn.Module | None" = None,
    probabilities: bool = False,
    allow_missing_cases: bool = False,
    on_cases: Callable[[tuple[str, ...]], object] | None = None,
) -> HeldOutValidation | None:
    """As `validate_held_out`, called by all processes that have trained together.

    Each predicts a share of the cases; the first one scores them, the others return None.
    """
    if ranks.is_first:
        return validate_held_out(
            config,
            dataset,
            folder,
            settings,
            name=name,
            network=network,
            probabilities=probabilities,
            allow_missing_cases=allow_missing_cases,
            ranks=ranks,
            on_cases=on_cases,
        )

    def predict(cases: Sequence[str]) -> Sequence[CaseProblem]:
        previous = previous_predictions(config, dataset, tuple(cases), name)
        stored = _stored_predictor(config, folder, settings, previous, network)
        return stored.predict_cases(cases, folder.validation, probabilities=probabilities)

    predict_share(ranks, folder.checkpoint(FINAL_CHECKPOINT), predict)
    return None


def _stored_predictor(
    config: ResolvedConfiguration,
    folder: RunFolder,
    settings: PredictionSettings | None,
    previous: Path | None,
    network: "nn.Module | None",
) -> StoredPredictor:
    predictor = Predictor.from_folder(
        folder.model, (folder.fold,), settings=settings or PredictionSettings(), network=network
    )
    stored = None if previous is None else partial(open_prediction, previous)
    stages = _next_stages(predictor, config.plans.folder)
    return StoredPredictor(predictor, open_store(config), stored, stages)


def _scores(summary: Summary) -> dict[str, float]:
    """Under the names that nnU-Net gives them in Weights & Biases."""
    means = summary.means()
    scores = {f"final_val/class_{key}_dice": mean["Dice"] for key, mean in means["mean"].items()}
    return {**scores, "final_val/foreground_dice": means["foreground_mean"]["Dice"]}


def references_of(preprocessed: Path, dataset: Dataset) -> Path:
    """The folder of references, as a path that summary.json can name whatever folder reads it.

    Raises
    ------
    DatasetError
        There is none.
    """
    for folder in (preprocessed / GROUND_TRUTH, dataset.folder / "labelsTr"):
        if folder.is_dir():
            return folder.absolute()
    raise DatasetError(
        f"{preprocessed}: has no {GROUND_TRUTH}, so the held-out cases cannot be scored. Name the "
        "raw dataset, or omit the validation."
    )


def _next_stages(predictor: Predictor, preprocessed: Path) -> tuple[NextStage, ...]:
    """The next stages; one that is not preprocessed must not cost the validation."""
    try:
        return next_stages(predictor, preprocessed)
    except FileError as error:
        logger.warning("Nothing is predicted for the next stage. %s", error)
        return ()
