"""The results of a method on a dataset: its score in every case, from summary.json files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from resenc_plans.datasets.dataset import file_names
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Region
from resenc_plans.errors import EvaluationError, ResencPlansError
from resenc_plans.evaluation.chosen_metrics import METRICS_JSON, ChosenMetrics
from resenc_plans.evaluation.summary import CaseMetrics, Summary
from resenc_plans.evaluation.surface import SURFACE_JSON
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.folders import DATASET_JSON, SUMMARY_JSON, VALIDATION, dataset_id
from resenc_plans.reprs import listed
from resenc_plans.runs.find_model import common_folds
from resenc_plans.runs.folds import ALL
from resenc_plans.runs.model_folder import ModelFolder, fold_of_validation, is_model_folder, run_of
from resenc_plans.study.trained_cases import TrainedCases, cases_trained_on


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What is known of a method's predictions for one dataset."""

    name: str
    dataset: str
    cases: Mapping[str, CaseMetrics]
    """By case."""
    labels: tuple[Region, ...]
    """Without background."""
    label_names: Mapping[Region, str] = field(default_factory=dict)
    sources: tuple[Path, ...]
    """The files that were read, or the folder of predictions that was evaluated."""
    model: ModelFolder | None = None
    folds: tuple[str, ...] = ()
    """Of the model, those that were read."""
    unfinished: tuple[str, ...] = ()
    """Folds of the model that have no summary.json."""
    problems: tuple[CaseProblem, ...] = ()
    """Segmentations that could not be evaluated, by file name."""
    trainings: int = 1
    """With other seeds, over which each case's score is the mean."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Of which seed and fold a case's prediction is, in words; without those that are of none."""
    trained_on: tuple[str, ...] = ()
    """The cases that the model was trained on too, as far as its folds say."""
    has_recorded_folds: bool = True
    """Whether it is known of which folds the predictions are, and what these were trained on."""
    tolerances: tuple[float, ...] = ()
    """Of the normalised surface Dice, in mm."""


@dataclass(frozen=True)
class Source:
    """Where a method's results lie, and what it is to be called."""

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> "Source":
        """A path, or NAME=PATH.

        >>> Source.parse("large=results/L").name
        'large'
        """
        name, separator, path = os.fspath(text).partition("=")
        if not separator or Path(text).exists() or not name or "/" in name:
            return cls(Path(text))
        return cls(Path(path), name)


def read_results(
    sources: Sequence[Source],
    *,
    references: str | os.PathLike[str] | None = None,
    folds: Sequence[str] = (),
) -> tuple[MethodResult, ...]:
    """Read the results of methods.

    Parameters
    ----------
    sources
        Each is a summary.json; a folder that has one; the folder of a model, ours or nnU-Net's, of
        which the validations of all folds are read as one; the folder of a fold; or a folder of
        segmentations, with `references`.
    references
        The folder of references for folders of segmentations without summary.json; they are
        evaluated in memory, and nothing is written.
    folds
        Of models; by default those that all models have finished.

    Raises
    ------
    EvaluationError
        There are no results at a path, or a case is in two folds.
    FileError
        A file is damaged.
    """
    models = [ModelFolder(one.path) for one in sources if _is_model(one.path)]
    chosen = tuple(folds) or _common_folds(models)
    results = _read_all(sources, references, chosen)
    names = _distinct_names(sources, results)
    return tuple(_renamed(result, name) for result, name in zip(results, names, strict=True))


def _read_all(
    sources: Sequence[Source], references: str | os.PathLike[str] | None, folds: Sequence[str]
) -> list[MethodResult]:
    """Every result; where one cannot be read, the error says which others could be compared."""
    results: list[MethodResult] = []
    errors: list[ResencPlansError] = []
    readable: list[Path] = []
    for source in sources:
        try:
            results.append(_read(source, references, folds))
            readable.append(source.path)
        except ResencPlansError as error:
            errors.append(error)
    if errors:
        others = f"These could be compared without: {listed(readable, 4)}."
        remedy = f"\n{others}" if len(readable) > 1 else ""
        reasons = "\n".join(map(str, errors))
        raise type(errors[0])(f"{reasons}{remedy}") from errors[0]
    return results


def _read(
    source: Source, references: str | os.PathLike[str] | None, folds: Sequence[str]
) -> MethodResult:
    path = source.path
    if path.is_file():
        return _of_summaries(path.parent, (path,))
    if not path.is_dir():
        raise EvaluationError(f"{path}: no such file or folder, so there are no results.")
    if _is_model(path):
        return _of_model(ModelFolder(path), folds)
    for place in (path / SUMMARY_JSON, path / VALIDATION / SUMMARY_JSON):
        if place.is_file():
            return _of_summaries(place.parent, (place,))
    if references is not None:
        return _evaluated(path, references)
    raise EvaluationError(_why_nothing(path))


def _is_model(path: Path) -> bool:
    return path.is_dir() and (is_model_folder(path) or bool(ModelFolder(path).folds()))


def _finished(model: ModelFolder) -> tuple[str, ...]:
    return tuple(
        fold for fold in model.folds() if (model.run(fold).validation / SUMMARY_JSON).is_file()
    )


def _common_folds(models: Sequence[ModelFolder]) -> tuple[str, ...]:
    """The numbered folds that all models have finished; none where they have none in common."""
    if not models:
        return ()
    try:
        folds = common_folds(models)
    except ResencPlansError:
        return ()
    finished = [set(_finished(model)) for model in models]
    return tuple(fold for fold in folds if all(fold in of_model for of_model in finished))


def _of_model(model: ModelFolder, folds: Sequence[str]) -> MethodResult:
    finished = _finished(model)
    numbered = tuple(fold for fold in finished if fold != ALL)
    chosen = tuple(fold for fold in folds or numbered or finished if fold in finished)
    if not chosen:
        what = listed(f"fold {fold}" for fold in folds or model.folds()) or "no fold"
        raise EvaluationError(
            f"{model.folder}: the training is not finished: no {SUMMARY_JSON} in the validation of "
            f"{what}. Finish it (`train` with `--resume`), or omit this folder."
        )
    paths = tuple(model.run(fold).validation / SUMMARY_JSON for fold in chosen)
    return replace(
        _of_summaries(model.folder, paths),
        name=model.identifier,
        dataset=_dataset_name(model.folder) or model.folder.resolve().parent.name,
        model=model if is_model_folder(model.folder) else None,
        folds=chosen,
        unfinished=tuple(fold for fold in model.folds() if fold not in finished),
    )


def _of_summaries(folder: Path, paths: Sequence[Path]) -> MethodResult:
    """The cases of one or several summary.json files; `folder` may have the dataset.json."""
    cases: dict[str, CaseMetrics] = {}
    origins: dict[str, str] = {}
    trained_on: list[TrainedCases] = []
    tolerances: set[float] = set()
    summaries = [Summary.load(path) for path in paths]
    for path, summary in zip(paths, summaries, strict=True):
        further, used = _further_metrics(path, summary)
        tolerances |= used
        for case in summary.cases:
            if case.case in cases:
                raise EvaluationError(f"{path}: case {case.case} occurs twice.")
            cases[case.case] = _with_metrics(case, further.get(case.name, {}))
            if (fold := fold_of_validation(path.parent)) is not None:
                origins[case.case] = f"fold {fold}"
        trained_on.append(cases_trained_on(path.parent, [case.case for case in summary.cases]))
    if not cases:
        raise EvaluationError(f"{paths[0]}: has no case.")
    labels = dict.fromkeys(region for summary in summaries for region in summary.regions)
    model = next((one for one in (folder, *folder.parents) if is_model_folder(one)), None)
    holder = folder if model is None else model
    run = run_of(folder)
    is_validation = run is not None and folder.absolute() == run.validation
    own = run if is_validation and model is not None else None
    return MethodResult(
        name=holder.resolve().name if model is None else holder.name,
        dataset=_dataset_name(holder),
        cases=cases,
        labels=tuple(region for region in labels if region != 0),
        label_names=_label_names(holder),
        sources=tuple(paths),
        model=None if own is None else ModelFolder(own.model),
        folds=() if own is None else (str(own.fold),),
        origins=origins,
        trained_on=tuple(sorted(case for one in trained_on for case in one.cases)),
        has_recorded_folds=all(one.is_recorded for one in trained_on),
        tolerances=tuple(sorted(tolerances)),
    )


def _further_metrics(
    path: Path, summary: Summary
) -> tuple[Mapping[str, Mapping[Region, Mapping[str, float]]], set[float]]:
    """The metrics of surface.json and metrics.json beside a summary.json, by file name.

    And the tolerances of the normalised surface Dice; that of metrics.json counts where both have
    it.

    Raises
    ------
    EvaluationError
        They were measured on other segmentations than the summary.
    """
    cases: dict[str, dict[Region, Mapping[str, float]]] = {}
    tolerances: set[float] = set()
    for further in (path.with_name(SURFACE_JSON), path.with_name(METRICS_JSON)):
        if further.is_file():
            chosen = ChosenMetrics.load(further)
            if chosen.summary_digest not in (None, summary.digest):
                raise EvaluationError(
                    f"{further}: was measured on other segmentations than those of {path.name} "
                    "beside it. Measure again (`evaluate` with `--metrics` or `--surface`), or "
                    "remove the file."
                )
            if "NSD" in chosen.names:
                tolerances = {chosen.tolerance}
            for case, by_region in chosen.cases.items():
                for region, figures in by_region.items():
                    known = cases.setdefault(case, {})
                    known[region] = {**known.get(region, {}), **figures}
    return cases, tolerances


def _with_metrics(case: CaseMetrics, further: Mapping[Region, Mapping[str, float]]) -> CaseMetrics:
    if not further:
        return case
    metrics = {
        region: {**further.get(region, {}), **figures} for region, figures in case.metrics.items()
    }
    return replace(case, metrics=metrics)


def _evaluated(path: Path, references: str | os.PathLike[str]) -> MethodResult:
    """A folder of segmentations, compared with its references in memory."""
    from resenc_plans.evaluation.evaluate import compare_folders
    from resenc_plans.evaluation.task import find_task

    task = find_task(path, references)
    evaluation = compare_folders(path, references, task)
    if evaluation.summary is None:
        raise EvaluationError(f"{path}: no case could be evaluated. {evaluation.problems[0]}")
    trained_on = cases_trained_on(path, [case.case for case in evaluation.summary.cases])
    return MethodResult(
        name=path.resolve().name,
        dataset=_dataset_name(path),
        cases={case.case: case for case in evaluation.summary.cases},
        labels=tuple(region for region in task.regions if region != 0),
        label_names=task.label_names,
        sources=(path,),
        problems=evaluation.problems,
        trained_on=trained_on.cases,
        has_recorded_folds=trained_on.is_recorded,
    )


def _dataset_name(folder: Path) -> str:
    """The nearest folder that is named as a dataset; else empty."""
    path = folder.resolve()
    return next((one.name for one in (path, *path.parents) if dataset_id(one.name)), "")


def _label_names(folder: Path) -> dict[Region, str]:
    path = folder / DATASET_JSON
    try:
        labels = DatasetJson.load(path).labels if path.is_file() else {}
    except ResencPlansError:
        return {}
    return {value: name for name, value in labels.items()}


def _why_nothing(path: Path) -> str:
    models = [one.name for one in sorted(path.iterdir()) if _is_model(one)]
    if models:
        return f"{path}: holds several models. Name one: {listed(models)}."
    if any(name.endswith((".nii.gz", ".nrrd", ".mha", ".png")) for name in file_names(path, "")):
        return (
            f"{path}: has segmentations, but no {SUMMARY_JSON}. Evaluate them, or name the folder "
            "of references, `references=`."
        )
    return f"{path}: has no {SUMMARY_JSON}, no folds and no segmentations."


def _distinct_names(sources: Sequence[Source], results: Sequence[MethodResult]) -> list[str]:
    """Names as given, or those of folders; where these are alike, with the folders above them.

    What all names have in common is left out: `nnUNetTrainer__A__3d_fullres` beside
    `nnUNetTrainer__B__3d_fullres` is A, and `a/predicted` beside `b/predicted` is a.
    """
    names = [source.name or result.name for source, result in zip(sources, results, strict=True)]
    keys = [(result.dataset, name) for result, name in zip(results, names, strict=True)]
    paths = [source.path.resolve() for source in sources]
    for depth in range(2, 8):
        if len(set(keys)) == len(keys) or len(set(paths)) < len(paths):
            break
        for index, (source, path) in enumerate(zip(sources, paths, strict=True)):
            if source.name is None and keys.count((results[index].dataset, names[index])) > 1:
                whole = path.parent if path.name == SUMMARY_JSON else path
                names[index] = "/".join(whole.parts[-depth:])
        keys = [(result.dataset, name) for result, name in zip(results, names, strict=True)]
    if any(source.name is not None for source in sources):
        return names
    names = _without_shared_end(names)
    return _differing_parts(names) if all(name.count("__") == 2 for name in names) else names


def _without_shared_end(names: list[str]) -> list[str]:
    parts = [name.split("/") for name in names]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    return ["/".join(one) for one in parts]


def _differing_parts(names: list[str]) -> list[str]:
    parts = [name.split("__") for name in names]
    differing = [column for column in range(3) if len({one[column] for one in parts}) > 1]
    return ["__".join(one[column] for column in differing) for one in parts] if differing else names


def _renamed(result: MethodResult, name: str) -> MethodResult:
    return replace(result, name=name)
