"""The segmentations of all folds of a model, or of an ensemble of two, in one folder."""

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError
from resenc_plans.evaluation.evaluate import compare_folders
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import EvaluationTask
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.files import put_in_place
from resenc_plans.folders import DATASET_JSON, ENSEMBLES, PLANS_JSON, SUMMARY_JSON
from resenc_plans.runs.model_folder import ModelFolder

Progress = Callable[[str], object]


class MissingProbabilitiesError(DatasetError):
    """A fold's validation has no probabilities, so that it cannot be part of an ensemble."""


def merge_folds(
    model: ModelFolder,
    references: Path,
    folds: Sequence[str],
    *,
    workers: int | None = None,
    on_case: Progress = lambda _: None,
) -> tuple[Path, Summary]:
    """Collect a model's validation predictions and score them as one set of cases.

    They go to `crossval_results_folds_0_1_…` in the model's folder, with plans.json, dataset.json
    and summary.json, and replace what is there (nnU-Net's `accumulate_cv_results`).

    Raises
    ------
    DatasetError
        A fold has no validation predictions, a case is in two folds, or a case cannot be scored.
    """
    ending = _dataset_json(model).file_ending
    files = _by_name(model, folds, ending)
    target = model.cross_validation(folds)
    with _replaced_folder(target) as folder:
        _copy_descriptions(model, folder)
        for path in files.values():
            shutil.copy(path, folder)
        summary = _score(folder, target, references, _dataset_json(model), workers, on_case)
    return target, summary


def merge_ensemble(
    first: ModelFolder,
    second: ModelFolder,
    references: Path,
    folds: Sequence[str],
    *,
    workers: int | None = None,
    on_case: Progress = lambda _: None,
) -> tuple[Path, Summary]:
    """Average two models' validation probabilities, case by case, and score the result.

    It goes to `ensembles/ensemble___A___B___0_1_…` beside the models' folders, and replaces what is
    there (nnU-Net's `ensemble_crossvalidations`). The two may have different splits.

    Raises
    ------
    MissingProbabilitiesError
        A fold has no probabilities.
    DatasetError
        A case is in two folds, the models' cases differ, or a case cannot be scored.
    """
    from resenc_plans.inference.ensemble import MAX_WORKERS, ensemble_case

    dataset_json = _dataset_json(first)
    labels = Labels.from_dataset(dataset_json)
    files = [_by_name(model, folds, ".npz") for model in (first, second)]
    lonely = sorted(files[0].keys() ^ files[1].keys())
    if lonely:
        raise DatasetError(
            f"{first.identifier} and {second.identifier}: {lonely[0]} is a case of just one of "
            "them, so they cannot be averaged."
        )
    target = first.folder.parent / ENSEMBLES / ensemble_name(first, second, folds)
    target.parent.mkdir(exist_ok=True)
    with _replaced_folder(target) as folder:
        _copy_descriptions(first, folder)

        def average(name: str) -> None:
            segmentation = folder / (name.removesuffix(".npz") + dataset_json.file_ending)
            ensemble_case([paths[name] for paths in files], segmentation, labels)

        with ThreadPoolExecutor(workers or min(usable_cpus(), MAX_WORKERS)) as pool:
            list(pool.map(average, sorted(files[0])))
        summary = _score(folder, target, references, dataset_json, workers, on_case)
    return target, summary


def ensemble_name(first: ModelFolder, second: ModelFolder, folds: Sequence[str]) -> str:
    """nnU-Net's name for the ensemble of two models of some folds."""
    return f"ensemble___{first.identifier}___{second.identifier}___{'_'.join(folds)}"


def _dataset_json(model: ModelFolder) -> DatasetJson:
    return DatasetJson.load(model.folder / DATASET_JSON)


def _copy_descriptions(model: ModelFolder, folder: Path) -> None:
    for name in (DATASET_JSON, PLANS_JSON):
        shutil.copy(model.folder / name, folder)


def _by_name(model: ModelFolder, folds: Sequence[str], ending: str) -> dict[str, Path]:
    """The validation files of all folds, by their names."""
    found: dict[str, Path] = {}
    for fold in folds:
        folder = model.run(fold).validation
        names = file_names(folder, ending)
        if not names and ending == ".npz" and folder.is_dir():
            raise MissingProbabilitiesError(
                f"{folder}: has no probabilities (.npz), so {model.identifier} cannot be part of "
                "an ensemble. `train --resume --probabilities` validates a trained fold again."
            )
        if not names:
            raise DatasetError(
                f"{folder}: has no predictions. Train fold {fold} of {model.identifier} first."
            )
        for name in names:
            if name in found:
                raise DatasetError(
                    f"{model.folder}: {name} is in the validation of more than one fold."
                )
            found[name] = folder / name
    return found


def _score(
    folder: Path,
    target: Path,
    references: Path,
    dataset_json: DatasetJson,
    workers: int | None,
    on_case: Progress,
) -> Summary:
    example = next(iter(file_names(folder, dataset_json.file_ending)), None)
    task = EvaluationTask.of_dataset(dataset_json, folder / example if example else None)
    found = compare_folders(folder, references, task, workers=workers, on_case=on_case)
    if found.problems or found.summary is None:
        reasons = "\n".join(f"{problem.case}: {problem.reason}" for problem in found.problems)
        raise DatasetError(f"{target.name}: not all cases can be scored.\n{reasons}")
    summary = found.summary.moved_to(target)
    summary.save(folder / SUMMARY_JSON)
    return summary


@contextmanager
def _replaced_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of `target` when the block ends well."""
    folder = target.with_name(f".{secrets.token_hex(4)}-new")
    folder.mkdir()
    try:
        yield folder
        put_in_place(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
