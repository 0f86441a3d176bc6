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
from resenc_plans.reprs import listed
from resenc_plans.runs.folds import MAX_NAMES, FoldCases
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.words import counted


def merge_folds(
    model: ModelFolder,
    references: Path,
    folds: Sequence[str],
    *,
    output: Path | None = None,
    workers: int | None = None,
) -> tuple[Path, Summary]:
    """Collect a model's validation predictions and evaluate them as one set of cases.

    They go to `crossval_results_folds_0_1_…` in the model's folder, with plans.json, dataset.json
    and summary.json, and replace earlier ones (nnU-Net's `accumulate_cv_results`); or to `output`,
    which is a new or an empty folder. Returns that folder and the summary.

    Raises
    ------
    EvaluationError
        A fold has no validation predictions, or not of just the cases that it held out; a case is
        in two folds, or cannot be evaluated; `output` is not empty.
    """
    files = _validation_files(model, folds, _dataset_json(model).file_ending)
    target = inside(model.folder.parent, model.cross_validation(folds))
    if output is not None:
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise EvaluationError(f"{output}: already exists and is not an empty folder.")
        make_folder(output.parent)
        target = output
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
        A fold has no probabilities, or not of just the cases that it held out.
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


def fault_of_validation(model: ModelFolder, fold: str) -> str | None:
    """Why the validation predictions of a fold do not count, and what to do; None if they do.

    There have to be some, and where cases.json says what the fold held out, they have to be of just
    these cases.
    """
    ending = _dataset_json(model).file_ending
    names = file_names(model.run(fold).validation, ending)
    if not names:
        return (
            f"{model.run(fold).validation}: has no predictions. Train fold {fold} of "
            f"{model.identifier} first"
        )
    return _fault_of_cases(model, fold, names, ending)


def _fault_of_cases(model: ModelFolder, fold: str, names: Sequence[str], ending: str) -> str | None:
    run = model.run(fold)
    recorded = FoldCases.load(run.path)
    if recorded is None:
        return None
    predicted = {name.removesuffix(ending) for name in names}
    lacking = sorted({*recorded.val} - predicted)
    if lacking:
        return (
            f"{run.validation}: lacks the {ending} files of {len(lacking)} of "
            f"{counted(len(recorded.val), 'held-out case')}: {listed(lacking, MAX_NAMES)}. "
            "Validate the trained fold again"
        )
    foreign = sorted(predicted - {*recorded.val})
    if foreign:
        return (
            f"{run.validation}: holds {ending} files of cases that the fold does not hold out: "
            f"{listed(foreign, MAX_NAMES)}. Move them away"
        )
    return None


def _validation_files(model: ModelFolder, folds: Sequence[str], ending: str) -> dict[str, Path]:
    """The validation files of all folds, by their names."""
    files: dict[str, Path] = {}
    for fold in folds:
        fault = fault_of_validation(model, fold)
        if fault is not None:
            raise EvaluationError(f"{fault}.")
        folder = model.run(fold).validation
        names = file_names(folder, ending)
        if not names:
            raise MissingProbabilitiesError(
                f"{folder}: has no probabilities (.npz), so {model.identifier} cannot be part of "
                "an ensemble. Validate the trained fold again, with probabilities."
            )
        fault = _fault_of_cases(model, fold, names, ending)
        if fault is not None:
            raise MissingProbabilitiesError(
                f"{fault}, with probabilities, so that {model.identifier} can be part of an "
                "ensemble."
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
