"""The trained models in the results folder, found by dataset, configuration, plans and trainer."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from resenc_plans.errors import DatasetError, ModelError
from resenc_plans.files import user_path
from resenc_plans.folders import (
    RESULTS,
    TRAINER_NAME,
    dataset_id,
    environment_folder,
    find_preprocessed_folder,
    results_folder,
)
from resenc_plans.runs.model_folder import ModelFolder, is_model_folder


def find_model(
    dataset: str | int,
    configuration: str | None = None,
    *,
    plans: str | None = None,
    trainer: str | None = None,
    results: str | os.PathLike[str] | None = None,
) -> ModelFolder:
    """The one trained model that fits, to be passed to `Predictor.from_folder`.

    Parameters
    ----------
    dataset
        Its id, name, or path, see `find_dataset_results`.
    configuration, plans, trainer
        The names of which the model's folder is made. Without a trainer, nnUNetTrainer goes before
        others.
    results
        The folder of all results, see `results_folder`.

    Raises
    ------
    ModelError
        No model fits, or several do, and the message lists them; or no results folder is known.
    """
    folder = find_dataset_results(dataset, results)
    models = find_models(folder)
    fitting = [
        model
        for model in models
        if trainer in (None, model.trainer)
        and plans in (None, model.plans)
        and configuration in (None, model.configuration)
    ]
    if len(fitting) > 1 and trainer is None:
        fitting = [model for model in fitting if model.trainer == TRAINER_NAME] or fitting
    if len(fitting) != 1:
        what = "several models fit" if fitting else "no model fits"
        names = ", ".join(model.identifier for model in fitting or models)
        raise ModelError(
            f"{folder}: {what} this trainer, plans and configuration. There is: {names}. "
            "Their names are TRAINER__PLANS__CONFIGURATION."
        )
    return fitting[0]


def find_models(
    dataset_results: Path,
    *,
    trainers: Collection[str] = (),
    plans: Collection[str] = (),
    configurations: Collection[str] = (),
) -> tuple[ModelFolder, ...]:
    """The models in a dataset's folder of results, by name; a collection that is not empty filters.

    Raises
    ------
    ModelError
        There is no such folder, or no model that fits; the message lists the candidates.
    """
    if not dataset_results.is_dir():
        raise ModelError(f"{dataset_results}: no such folder, so nothing was trained.")
    models = [
        ModelFolder(path) for path in sorted(dataset_results.iterdir()) if is_model_folder(path)
    ]
    fitting = tuple(
        model
        for model in models
        if (not trainers or model.trainer in trainers)
        and (not plans or model.plans in plans)
        and (not configurations or model.configuration in configurations)
    )
    if not fitting:
        names = ", ".join(model.identifier for model in models) or "none"
        raise ModelError(f"{dataset_results}: no trained model fits. There is: {names}.")
    return fitting


def find_dataset_results(dataset: str | int, results: str | os.PathLike[str] | None = None) -> Path:
    """The folder of one dataset's results.

    `dataset` is its id or name in the results folder; the path of the raw or preprocessed dataset,
    whose name counts; or the path of the folder itself, which is one that holds models.

    Raises
    ------
    ModelError
        There is no such folder, several have the id, or no results folder is known.
    """
    dataset = str(dataset)
    path = user_path(dataset)
    is_path = path.is_dir() and (len(path.parts) > 1 or results is None)
    if is_path and any(map(is_model_folder, path.iterdir())):
        return path
    name = path.resolve().name
    root = _root(dataset, results)
    if not root.is_dir():
        raise ModelError(f"{root}: no such results folder. Set {RESULTS}, or name the folder.")
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    number = int(name) if name.isdigit() else None
    matches = [
        folder
        for folder in folders
        if folder == name or (number is not None and dataset_id(folder) == number)
    ]
    if len(matches) != 1:
        what = "several folders fit" if matches else "no results"
        names = ", ".join(folder for folder in folders[:10] if dataset_id(folder)) or "none"
        raise ModelError(f"Dataset {dataset!r}: {what} in {root}. There is: {names}.")
    return root / matches[0]


def common_folds(models: Sequence[ModelFolder]) -> tuple[str, ...]:
    """The folds that all of some models have; `all` only if no fold has a number.

    Raises
    ------
    ModelError
        They have no fold in common.
    """
    first, *others = (model.folds() for model in models)
    common = tuple(fold for fold in first if all(fold in folds for folds in others))
    folds = tuple(fold for fold in common if fold.isdigit()) or common
    if not folds:
        names = ", ".join(model.identifier for model in models)
        raise ModelError(f"No fold is trained of all of {names}.")
    return folds


def _root(dataset: str, results: str | os.PathLike[str] | None) -> Path:
    if results is not None or environment_folder(RESULTS) is not None:
        return results_folder(results)
    try:
        return results_folder(preprocessed=find_preprocessed_folder(dataset))
    except DatasetError as error:
        raise ModelError(
            f"{error} {RESULTS} is not set either: set it, or name the results folder."
        ) from None
