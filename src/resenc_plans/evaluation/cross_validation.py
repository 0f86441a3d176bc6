"""The segmentations of all folds of a model, or of an ensemble of two, in one folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.segmentation_files import segmentation_file
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import EvaluationError, MissingProbabilitiesError
from resenc_plans.evaluation.evaluate import compare_folders
from resenc_plans.evaluation.summary import Summary
from resenc_plans.evaluation.task import find_task
from resenc_plans.execution.cases import CaseProblem, each_case, separate
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.files import inside, make_folder, part_of_path, replace_folder
from resenc_plans.folders import DATASET_JSON, ENSEMBLES, PLANS_JSON, SUMMARY_JSON
from resenc_plans.runs.model_folder import ModelFolder


def merge_folds(
    model: ModelFolder, references: Path, folds: Sequence[str], *, workers: int | None = None
) -> tuple[Path, Summary]:
    """Collect a model's validation predictions and evaluate them as one set of cases.

    They go to `crossval_results_folds_0_1_…` in the model's folder, with plans.json, dataset.json
    and summary.json, and replace earlier ones (nnU-Net's `accumulate_cv_results`). Returns that
    folder and the summary.

    Raises
    ------
    EvaluationError
        A fold has no validation predictions, a case is in two folds, or a case cannot be evaluated.
    """
    files = _validation_files(model, folds, _dataset_json(model).file_ending)
    target = inside(model.folder.parent, model.cross_validation(folds))
    with replace_folder(target) as folder:
        _copy_descriptions(model, folder)
        for path in files.values():
            shutil.copy(path, folder)
        summary = _evaluate_all(folder, target, references, workers)
    return target, summary


def merge_ensemble(
    first: ModelFolder,
    second: ModelFolder,
    references: Path,
    folds: Sequence[str],
    *,
    workers: int | None = None,
) -> tuple[Path, Summary]:
    """Average two models' validation probabilities, case by case, and evaluate the result.

    It goes to `ensembles/ensemble___A___B___0_1_…` beside the models' folders, and replaces an
    earlier one (nnU-Net's `ensemble_crossvalidations`). Returns that folder and the summary.

    Parameters
    ----------
    first, second
        The models, whose folds may be split differently.
    references
        The folder of references.
    folds
        The folds whose validation predictions are averaged.
    workers
        Threads to use; by default one per usable CPU, few for averaging.

    Raises
    ------
    MissingProbabilitiesError
        A fold has no probabilities.
    EvaluationError
        A case is in two folds, the models' cases differ, or a case cannot be averaged or evaluated.
    """
    from resenc_plans.inference.ensemble import MAX_WORKERS, ensemble_case

    dataset_json = _dataset_json(first)
    labels = Labels.from_dataset(dataset_json)
    files = [_validation_files(model, folds, ".npz") for model in (first, second)]
    unpaired = sorted(files[0].keys() ^ files[1].keys())
    if unpaired:
        raise EvaluationError(
            f"{first.identifier} and {second.identifier}: {unpaired[0]} is a case of just one of "
            "them, so they cannot be averaged."
        )
    target = _ensemble_folder(first, second, folds)
    make_folder(target.parent)
    with replace_folder(target) as folder:
        _copy_descriptions(first, folder)

        def average(name: str) -> None:
            case = name.removesuffix(".npz")
            segmentation = segmentation_file(folder, case, dataset_json.file_ending)
            ensemble_case([paths[name] for paths in files], segmentation, labels)

        threads = workers or min(usable_cpus(), MAX_WORKERS)
        _, problems = separate(each_case(average, sorted(files[0]), workers=threads))
        raise_problems(target, "averaged", problems)
        summary = _evaluate_all(folder, target, references, workers)
    return target, summary


def ensemble_name(first: ModelFolder, second: ModelFolder, folds: Sequence[str]) -> str:
    """nnU-Net's name for the ensemble of two models of some folds."""
    return f"ensemble___{first.identifier}___{second.identifier}___{'_'.join(folds)}"


def _ensemble_folder(first: ModelFolder, second: ModelFolder, folds: Sequence[str]) -> Path:
    dataset = first.folder.parent
    name = ensemble_name(first, second, folds)
    return inside(dataset, dataset / ENSEMBLES / part_of_path(name, "ensemble"))


def _dataset_json(model: ModelFolder) -> DatasetJson:
    return DatasetJson.load(model.folder / DATASET_JSON)


def _copy_descriptions(model: ModelFolder, folder: Path) -> None:
    for name in (DATASET_JSON, PLANS_JSON):
        shutil.copy(model.folder / name, folder)


def is_validated(model: ModelFolder, fold: str) -> bool:
    """Whether a fold has segmentations of held-out cases."""
    return bool(file_names(model.run(fold).validation, _dataset_json(model).file_ending))


def _validation_files(model: ModelFolder, folds: Sequence[str], ending: str) -> dict[str, Path]:
    """The validation files of all folds, by their names."""
    files: dict[str, Path] = {}
    for fold in folds:
        folder = model.run(fold).validation
        names = file_names(folder, ending)
        if not names and ending == ".npz" and folder.is_dir():
            raise MissingProbabilitiesError(
                f"{folder}: has no probabilities (.npz), so {model.identifier} cannot be part of "
                "an ensemble. Validate the trained fold again, with probabilities."
            )
        if not names:
            raise EvaluationError(
                f"{folder}: has no predictions. Train fold {fold} of {model.identifier} first."
            )
        for name in names:
            if name in files:
                raise EvaluationError(
                    f"{model.folder}: {name} is in the validation of more than one fold."
                )
            files[name] = folder / name
    return files


def _evaluate_all(folder: Path, target: Path, references: Path, workers: int | None) -> Summary:
    """Evaluate all predictions in `folder`, which is about to become `target`."""
    task = find_task(folder, dataset=folder / DATASET_JSON)
    evaluation = compare_folders(folder, references, task, workers=workers)
    raise_problems(target, "scored", evaluation.problems)
    assert evaluation.summary is not None, "no case failed, and there is at least one"
    summary = evaluation.summary.moved_to(target)
    summary.save(folder / SUMMARY_JSON)
    return summary


def raise_problems(target: Path, done: str, problems: Sequence[CaseProblem]) -> None:
    """Raise an EvaluationError that names the cases, if there are any."""
    if problems:
        reasons = "\n".join(map(str, problems))
        raise EvaluationError(f"{target.name}: not all cases can be {done}.\n{reasons}")
