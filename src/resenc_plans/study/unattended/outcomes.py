"""The results of a study's runs, method by method, as `compare` takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import StudyError
from resenc_plans.evaluation.summary import CaseMetrics
from resenc_plans.files import part_of_path
from resenc_plans.folders import GROUND_TRUTH, SUMMARY_JSON
from resenc_plans.study.results import MethodResult, Source, read_results
from resenc_plans.study.trained_cases import cases_trained_on
from resenc_plans.study.unattended.graph import Piece, Run
from resenc_plans.study.unattended.methods import folder_of
from resenc_plans.study.unattended.opened import OpenedStudy


@dataclass(frozen=True)
class RunResult:
    """The scores of the held-out cases of one run."""

    run: Run
    result: MethodResult

    def mean(self, metric: str) -> float:
        """Over cases, of the mean over a case's labels; NaN without a value."""
        means = [_mean_over_labels(case, metric) for case in self.result.cases.values()]
        known = [value for value in means if value == value]
        return float(np.mean(known)) if known else float("nan")


def finished_runs(study: OpenedStudy) -> tuple[RunResult, ...]:
    """The results of the runs that are done, in the order of the study.

    Raises
    ------
    FileError
        A summary.json is damaged.
    """
    found = []
    for run in study.graph.runs:
        read = [Piece("evaluation", run)]
        read += [] if run.seed is None else [Piece("prediction", run)]
        if any(study.state(piece) != "done" for piece in read):
            continue
        path = study.places.method(run) if run.seed is None else study.places.run(run).validation
        [result] = read_results([Source(path / SUMMARY_JSON, run.method)])
        cases = {name: _with_files(study, run, case) for name, case in result.cases.items()}
        model = None if run.seed is None else study.places.model(run)
        folds = () if run.fold is None else (str(run.fold),)
        sources = (Path(study.places.relative(path / SUMMARY_JSON)),)
        if run.seed is None:
            result = _with_record(study, run, result)
        origin = "" if run.seed is None else f"seed {run.seed}, fold {run.fold}"
        found.append(
            RunResult(
                run,
                replace(
                    result, dataset=run.dataset, model=model, folds=folds, sources=sources,
                    cases=cases, origins=dict.fromkeys(cases, origin) if origin else {},
                ),
            )
        )  # fmt: skip
    return tuple(found)


def _with_record(study: OpenedStudy, run: Run, result: MethodResult) -> MethodResult:
    """The result of predictions that were made elsewhere, with what lies beside them."""
    made_elsewhere = study.file.methods[run.method].predictions
    assert made_elsewhere is not None, "nothing else has no seed"
    folder = folder_of(made_elsewhere, run.dataset, study.places.root)
    trained_on = cases_trained_on(folder, list(result.cases))
    return replace(result, trained_on=trained_on.cases, has_recorded_folds=trained_on.is_recorded)


def _with_files(study: OpenedStudy, run: Run, case: CaseMetrics) -> CaseMetrics:
    """The case with its files where they lie now, whatever its summary says of them."""
    made_elsewhere = study.file.methods[run.method].predictions
    if made_elsewhere is None:
        predictions = study.places.run(run).validation
        references = study.places.preprocessed(run.dataset) / GROUND_TRUTH
    else:
        predictions = folder_of(made_elsewhere, run.dataset, study.places.root)
        references = study.data[run.dataset].dataset.folder / "labelsTr"
    return replace(
        case,
        prediction_file=str(predictions / part_of_path(case.name, "case")),
        reference_file=str(references / part_of_path(case.name, "case")),
    )


def method_results(study: OpenedStudy, runs: Sequence[RunResult]) -> tuple[MethodResult, ...]:
    """A result for each dataset and method: a case's score is the mean over its seeds.

    Raises
    ------
    StudyError
        On no dataset have two methods finished a run.
    """
    results: list[MethodResult] = []
    for name in study.data:
        of_dataset = [
            _pooled(
                method, [one for one in runs if (one.run.dataset, one.run.method) == (name, method)]
            )
            for method in study.file.methods
            if any((one.run.dataset, one.run.method) == (name, method) for one in runs)
        ]
        results += of_dataset if len(of_dataset) > 1 else []
    if not results:
        raise StudyError(
            f"{study.path}: on no dataset have two methods finished a run, so there is nothing to "
            "compare yet. `status` says what is missing."
        )
    return tuple(results)


def _pooled(method: str, runs: Sequence[RunResult]) -> MethodResult:
    """One result of several runs."""
    by_case: dict[str, list[CaseMetrics]] = {}
    origins: dict[str, str] = {}
    for one in runs:
        origins = {**one.result.origins, **origins}
        for name, case in one.result.cases.items():
            by_case.setdefault(name, []).append(case)
    first = runs[0].result
    return replace(
        first,
        name=method,
        cases={name: _mean_case(cases) for name, cases in by_case.items()},
        origins=origins,
        labels=tuple(dict.fromkeys(label for one in runs for label in one.result.labels)),
        sources=tuple(path for one in runs for path in one.result.sources),
        folds=tuple(dict.fromkeys(fold for one in runs for fold in one.result.folds)),
        trained_on=tuple(sorted({case for one in runs for case in one.result.trained_on})),
        has_recorded_folds=all(one.result.has_recorded_folds for one in runs),
        tolerances=tuple(sorted({size for one in runs for size in one.result.tolerances})),
        trainings=min(len(cases) for cases in by_case.values()),
    )


def _mean_case(cases: Sequence[CaseMetrics]) -> CaseMetrics:
    """The means of a case's figures over the trainings in which they are defined.

    Its files are those of the first.
    """
    if len(cases) == 1:
        return cases[0]
    metrics: dict[Region, Mapping[str, float]] = {}
    for region in cases[0].metrics:
        rows = [case.metrics[region] for case in cases if region in case.metrics]
        metrics[region] = {key: _mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return replace(cases[0], metrics=metrics)


def _mean(values: Sequence[float]) -> float:
    """Over the values that are defined, and NaN without any; the same for equal values."""
    known = [value for value in values if value == value]
    if not known:
        return float("nan")
    return known[0] if len(set(known)) == 1 else float(np.mean(known))


def _mean_over_labels(case: CaseMetrics, metric: str) -> float:
    values = [
        figures[metric]
        for region, figures in case.metrics.items()
        if region != 0 and metric in figures
    ]
    return _mean([value for value in values if value == value])
