"""Compare methods: one call from result folders to statistics and report."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resenc_plans.errors import EvaluationError, UsageError
from resenc_plans.evaluation.known_metrics import KNOWN_METRICS, Metric, find_metrics
from resenc_plans.reprs import listed
from resenc_plans.study.budgets import Budget, find_budgets, refuse_unknown
from resenc_plans.study.comparison import (
    Comparison,
    ComparisonSettings,
    DatasetComparison,
    MeanRank,
)
from resenc_plans.study.paired import PairedComparison
from resenc_plans.study.patients import patients_of
from resenc_plans.study.report.write import refuse_to_replace, write_report
from resenc_plans.study.results import MethodResult, Source, read_results
from resenc_plans.study.rules import Compared, find_all
from resenc_plans.study.scores import (
    Missing,
    Undefined,
    available_metrics,
    collect_scores,
    without_metric,
)
from resenc_plans.study.statistics.clusters import Clusters, Floats
from resenc_plans.study.statistics.ranks import mean_ranks, mid_ranks

MIN_DRAWS = 100

Patients = Mapping[str, str] | str | os.PathLike[str] | None
"""The patient of each case, as `compare` takes it."""


def compare(
    *results: str | os.PathLike[str],
    metrics: Sequence[str] = (),
    references: str | os.PathLike[str] | None = None,
    folds: Sequence[int | str] = (),
    patients: Mapping[str, str] | str | os.PathLike[str] | None = None,
    budgets: Mapping[str, str] | None = None,
    margin: float | None = None,
    tie: float | None = None,
    missing: Missing = "omit",
    undefined: Undefined = "omit",
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 12345,
    output: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Say which of some methods is better, by how much, and how sure that is.

    Methods are compared on the same cases. Intervals come from draws of patients (of cases, where
    no patients are named), p values from Wilcoxon's signed-rank test on patients' means, adjusted
    by Holm over all pairs. Without `output`, nothing is written; `Comparison` has the tables.

    Parameters
    ----------
    results
        At least two: a summary.json, a folder with one, the folder of a trained model (all folds),
        of a fold, or of segmentations, with `references`. NAME=PATH gives a name. Results of
        several datasets, the folders' `DatasetXXX_Name`, are compared dataset by dataset.
    metrics
        Names such as Dice, HD95; by default all that every result has. Metrics beside Dice and IoU
        are in the metrics.json that `evaluate` writes.
    references
        The folder of references, for folders of segmentations that have no summary.json.
    folds
        Of models; by default those that all of them have finished.
    patients
        The patient of each case: a mapping; a JSON file or a CSV file with the columns case and
        patient; or a regular expression whose first group is the patient. By default each case is
        a patient of its own.
    budgets
        What a training takes, by method, such as `{"mine": "68h,17.3GB"}`. By default what the
        folds of models recorded (cost.json).
    margin
        Differences of means up to here do not matter: each pair gets a verdict such as
        `equivalent`. Of shares such as Dice; distances get none.
    tie
        Differences of a case up to here count as ties, of shares; by default 0.01. Distances have
        0.5 mm.
    missing
        Cases that a method has not predicted are left out of all methods (`omit`), or count as 0
        (`worst`).
    undefined
        Scores of labels that neither segmentation has are left out of all methods (`omit`), or
        count as 1 (`perfect`).
    level
        Of intervals.
    draws
        Of the bootstrap.
    seed
        Of the draws.
    output
        A folder for the report: report.html, report.md, table.tex, cases.csv, results.json.
    images
        With `output`: the folder of the images, CASE_0000 with the segmentations' file ending, to
        draw the worst cases on.
    overwrite
        Whether to replace an earlier report.

    Raises
    ------
    UsageError
        Fewer than two results, or an argument out of range.
    EvaluationError
        There are no results at a path, one is named twice, or they have no case, label or metric
        in common.
    FileError
        A file is damaged, or the report cannot be written or already exists.
    """
    if images is not None and output is None:
        raise UsageError("`images=` needs `output=`, the folder of the report.")
    if output is not None:
        refuse_to_replace(Path(output), overwrite)
    sources = [Source.parse(result) for result in results]
    _check(sources, level, draws, margin, tie)
    chosen = find_metrics(metrics)
    settings = ComparisonSettings(
        draws=draws, level=level, seed=seed, tie=tie, margin=margin, missing=missing,
        undefined=undefined,
    )  # fmt: skip
    everything = read_results(sources, references=references, folds=[*map(str, folds)])
    _refuse_twice(sources, everything)
    given = {name: Budget.parse(text) for name, text in (budgets or {}).items()}
    refuse_unknown(everything, given)
    comparison = compare_results(
        everything, settings, metrics=chosen, patients=lambda _: patients, budgets=lambda _: given
    )
    if output is None:
        return comparison
    written, problems = write_report(
        comparison,
        output,
        images=None if images is None else lambda _: images,
        overwrite=overwrite,
    )
    return replace(comparison, written=written, not_drawn=problems)


def compare_results(
    results: Sequence[MethodResult],
    settings: ComparisonSettings,
    *,
    metrics: Sequence[Metric] = (),
    patients: Callable[[str], Patients] = lambda _: None,
    budgets: Callable[[str], Mapping[str, Budget]] = lambda _: {},
) -> Comparison:
    """`compare` of results that have been read.

    Parameters
    ----------
    results
        Of one or several datasets, with distinct names on each.
    settings
        How to compare.
    metrics
        By default all that every result has.
    patients
        By the name of a dataset, as for `compare`.
    budgets
        By the name of a dataset, those of its methods; by default what their folds recorded.

    Raises
    ------
    EvaluationError
        A dataset has one method only, or results have no case, label or metric in common.
    """
    parts = [
        _compare_dataset(
            of_dataset,
            metrics,
            patients(of_dataset[0].dataset),
            replace(settings, seed=settings.seed + number),
            budgets(of_dataset[0].dataset),
        )
        for number, of_dataset in enumerate(_by_dataset(results))
    ]
    datasets = tuple(dataset for dataset, _ in parts)
    draws = [draws for _, draws in parts]
    ranks = _mean_ranks(datasets, draws, settings.level) if parts[1:] else ()
    return Comparison(datasets=datasets, settings=settings, mean_ranks=ranks)


def _check(
    sources: Sequence[Source], level: float, draws: int, margin: float | None, tie: float | None
) -> None:
    if len(sources) < 2:
        raise UsageError("Name at least two results to compare.")
    if not 0.5 <= level < 1:
        raise UsageError(f"`level=` {level}: a share such as 0.95 is needed, from 0.5 to below 1.")
    if draws < MIN_DRAWS:
        raise UsageError(f"`draws=` {draws}: at least {MIN_DRAWS} are needed.")
    if margin is not None and not 0 < margin < 1:
        raise UsageError(
            f"`margin=` {margin}: a share above 0 and below 1 is needed, such as 0.01."
        )
    if tie is not None and not 0 <= tie < 1:
        raise UsageError(f"`tie=` {tie}: a share from 0 to below 1 is needed, such as 0.01.")


def _refuse_twice(sources: Sequence[Source], results: Sequence[MethodResult]) -> None:
    seen: set[tuple[Path, ...]] = set()
    for source, result in zip(sources, results, strict=True):
        files = tuple(path.resolve() for path in result.sources)
        if files in seen:
            raise EvaluationError(
                f"{source.path}: is named twice. A method cannot be compared with itself."
            )
        seen.add(files)


def _by_dataset(results: Sequence[MethodResult]) -> list[tuple[MethodResult, ...]]:
    """The results of each dataset; those whose dataset is unknown belong to the only one there is.

    Raises
    ------
    EvaluationError
        A dataset has one method only, or one name stands for two methods.
    """
    known = list(dict.fromkeys(one.dataset for one in results if one.dataset))
    if len(known) < 2 or any(not one.dataset for one in results):
        groups = [tuple(results)]
    else:
        groups = [tuple(one for one in results if one.dataset == name) for name in known]
    for group in groups:
        names = [one.name for one in group]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise EvaluationError(
                f"{twice[0]}: two results have this name. Give them names: NAME=PATH."
            )
        if len(group) < 2:
            others = listed(name for name in known if name != group[0].dataset)
            raise EvaluationError(
                f"{names[0]}: is the only result for {group[0].dataset}; the others are for "
                f"{others}. Methods are compared on the same dataset."
            )
    return groups


def _compare_dataset(
    results: tuple[MethodResult, ...],
    chosen: Sequence[Metric],
    patients: Patients,
    settings: ComparisonSettings,
    given: Mapping[str, Budget],
) -> tuple[DatasetComparison, dict[str, Floats]]:
    """The comparison, and by metric the draws of the methods' means. `given` are budgets."""
    metrics = available_metrics(results, chosen or tuple(KNOWN_METRICS.values()))
    lacking = [metric.key for metric in chosen if metric not in metrics]
    if lacking or not metrics:
        raise EvaluationError(_why_no_metric(results, lacking))
    paired = []
    clusters = None
    for metric in metrics:
        scores = collect_scores(
            results, metric, missing=settings.missing, undefined=settings.undefined
        )
        if clusters is None:
            cases = scores.cases
            clusters = Clusters.of(cases if patients is None else patients_of(cases, patients))
        paired.append(PairedComparison(scores, clusters, settings))
    assert clusters is not None, "there is at least one metric"
    compared = tuple(one.result() for one in paired)
    count = None if patients is None else clusters.size
    budgets = find_budgets(results, given)
    comparison = DatasetComparison(
        dataset=results[0].dataset,
        results=results,
        patients=count,
        metrics=compared,
        budgets=budgets,
        findings=find_all(Compared(results, compared, count, budgets, 1 - settings.level)),
    )
    draws = {metric.key: one.draws for metric, one in zip(metrics, paired, strict=True)}
    return comparison, draws


def _why_no_metric(results: Sequence[MethodResult], lacking: Sequence[str]) -> str:
    """Who lacks the metrics that are wanted, and what all have."""
    everything = tuple(KNOWN_METRICS.values())
    shared = listed(metric.key for metric in available_metrics(results, everything))
    parts = [
        f"{key}: not every result has this metric: {listed(names)} "
        f"{'lack' if names[1:] else 'lacks'} it."
        for key in lacking
        if (names := without_metric(results, KNOWN_METRICS[key]))
    ]
    remedy = "Compute it: `evaluate` with `metrics=`."
    return " ".join([*parts, remedy, f"All have {shared}." if shared else "They share no metric."])


def _mean_ranks(
    datasets: Sequence[DatasetComparison], draws: Sequence[dict[str, Floats]], level: float
) -> tuple[MeanRank, ...]:
    """Of the methods and metrics that all datasets have; none where these are fewer than two."""
    methods = [name for name in datasets[0].methods if all(name in one.methods for one in datasets)]
    keys = [key for key in draws[0] if all(key in of_dataset for of_dataset in draws)]
    ranks: list[MeanRank] = []
    for key in keys if len(methods) > 1 else ():
        rows = [[one.methods.index(name) for name in methods] for one in datasets]
        chosen = [of_dataset[key][row] for of_dataset, row in zip(draws, rows, strict=True)]
        in_data = []
        for dataset, row in zip(datasets, rows, strict=True):
            metric = next(one for one in dataset.metrics if one.metric.key == key)
            means = np.array([one.mean for one in metric.of_label()])[row]
            in_data.append(mid_ranks(metric.metric.sign * means))
        own = np.mean(in_data, 0)
        for number, interval in enumerate(mean_ranks(chosen, level)):
            ranks.append(
                MeanRank(
                    metric=key, method=methods[number], rank=float(own[number]), interval=interval
                )
            )
    return tuple(ranks)
