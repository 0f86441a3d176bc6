"""The report of a study: `compare`'s, with the costs of the methods and what datasets can tell."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resenc_plans.evaluation.known_metrics import find_metrics
from resenc_plans.files import finite, to_json_text
from resenc_plans.reprs import rounded
from resenc_plans.study.compare import compare_results
from resenc_plans.study.comparison import Comparison, ComparisonSettings
from resenc_plans.study.report.tables import Section, Table
from resenc_plans.study.report.write import write_report
from resenc_plans.study.statistics.discrimination import Discrimination, discrimination
from resenc_plans.study.unattended.costs import ExpectedCost, MethodCost, measured_cost
from resenc_plans.study.unattended.opened import OpenedStudy
from resenc_plans.study.unattended.outcomes import RunResult, finished_runs, method_results
from resenc_plans.study.unattended.provenance import PROVENANCE_JSON, Provenance
from resenc_plans.words import counted

logger = logging.getLogger(__name__)

COSTS_JSON = "costs.json"
DISCRIMINATION_JSON = "discrimination.json"


@dataclass(frozen=True)
class StudyOutcome:
    """All that a study has found so far."""

    comparison: Comparison
    costs: tuple[MethodCost, ...]
    discrimination: dict[str, Discrimination]
    """By dataset, of those where it is defined."""
    missing: tuple[str, ...]
    """The runs that are not done."""


def study_outcome(study: OpenedStudy) -> StudyOutcome:
    """What the finished runs of a study say.

    Raises
    ------
    StudyError
        On no dataset have two methods finished a run.
    FileError, EvaluationError
        Results are damaged, or cannot be compared.
    """
    file, runs = study.file, finished_runs(study)
    results = method_results(study, runs)
    costs = tuple(
        measured_cost(
            dataset,
            method,
            [one for one in runs if (one.run.dataset, one.run.method) == (dataset, method)],
            ExpectedCost.load(study.places.expected_cost(dataset, method)),
        )
        for dataset in study.data
        for method in file.methods
    )
    settings = ComparisonSettings(
        draws=file.bootstrap.draws,
        level=file.bootstrap.level,
        seed=file.bootstrap.seed,
        margin=file.margin,
        missing=file.missing,
        undefined=file.undefined,
    )
    budgets = {
        dataset: {
            one.method: budget
            for one in costs
            for budget in [one.budget]
            if one.dataset == dataset and budget is not None
        }
        for dataset in study.data
    }
    comparison = compare_results(
        results,
        settings,
        metrics=find_metrics(file.ordered_metrics),
        patients=lambda name: study.data[name].patients,
        budgets=lambda name: budgets[name],
    )
    done = {one.run for one in runs}
    return StudyOutcome(
        comparison=comparison,
        costs=costs,
        discrimination=_discriminations(study, runs),
        missing=tuple(str(run) for run in study.graph.runs if run not in done),
    )


def write_study_report(
    study: OpenedStudy, folder: Path, *, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write the report into a folder; its files.

    Beside `compare`'s files there are costs.json, discrimination.json, and provenance.json, with
    which `study verify` checks all of it. The worst cases are drawn on the raw images; what cannot
    be drawn is named in the log.

    Raises
    ------
    StudyError, EvaluationError
        As `study_outcome`.
    FileError
        The folder has something else in it, or cannot be written.
    """
    outcome = study_outcome(study)
    level = outcome.comparison.settings.level
    documents = {
        COSTS_JSON: to_json_text(finite([one.to_dict() for one in outcome.costs])),
        DISCRIMINATION_JSON: to_json_text(
            finite({name: _as_dict(one) for name, one in outcome.discrimination.items()})
        ),
        PROVENANCE_JSON: to_json_text(Provenance.of(study).model_dump(mode="json")),
    }
    written, not_drawn = write_report(
        outcome.comparison,
        folder,
        images=lambda name: study.data[name].first_channels,
        overwrite=overwrite,
        title=study.file.name,
        sections=_sections(outcome, level),
        documents=documents,
    )
    for problem in not_drawn:
        logger.warning("%s: no overlay in the report. %s", problem.case, problem.reason)
    return written


def _discriminations(study: OpenedStudy, runs: Sequence[RunResult]) -> dict[str, Discrimination]:
    """By dataset, of the trained methods, by the primary metric."""
    metric = study.file.ordered_metrics[0]
    found: dict[str, Discrimination] = {}
    for dataset in study.data:
        scores = [
            [
                mean
                for one in runs
                if (one.run.dataset, one.run.method) == (dataset, method)
                for mean in [one.mean(metric)]
                if mean == mean
            ]
            for method, described in study.file.methods.items()
            if described.is_trained
        ]
        result = discrimination([one for one in scores if one], study.file.bootstrap.level)
        if result is not None:
            found[dataset] = result
    return found


def _as_dict(one: Discrimination) -> dict[str, Any]:
    return {
        "methods": one.methods,
        "runs": one.runs,
        "between": one.between,
        "within": one.within,
        "ratio": one.ratio,
        "low": one.interval.low,
        "high": one.interval.high,
        "by_noise": one.by_noise,
        "tells_apart": one.tells_apart,
    }


def _sections(outcome: StudyOutcome, level: float) -> list[Section]:
    sections = []
    if outcome.missing:
        sections.append(
            Section(
                "Runs that are not done",
                (
                    f"{counted(len(outcome.missing), 'run is', 'runs are')} missing: "
                    f"{'; '.join(outcome.missing)}.",
                ),
            )
        )
    sections += [
        Section("Methods and datasets", (), (_overview(outcome),)),
        Section(
            "Costs of one training",
            (
                "Hours are means and memory is the most over the trainings, as they recorded it. "
                "What is marked (estimated) was not measured; parameters and operations are "
                "counted.",
            ),
            tuple(
                _cost_table(name, [one for one in outcome.costs if one.dataset == name])
                for name in dict.fromkeys(one.dataset for one in outcome.costs)
            ),
        ),
    ]
    sentences = [one.sentence(name, level) for name, one in outcome.discrimination.items()]
    if sentences:
        sections.append(Section("Which datasets can tell methods apart", tuple(sentences)))
    return sections


def _overview(outcome: StudyOutcome) -> Table:
    """Means by method and dataset, with GB and hours."""
    datasets = outcome.comparison.datasets
    metric = datasets[0].metrics[0].metric
    digits = 4 if metric.is_share else 2
    rows = []
    for method in dict.fromkeys(name for dataset in datasets for name in dataset.methods):
        cells = [method]
        for dataset in datasets:
            scores = {one.method: one.mean for one in dataset.metrics[0].of_label()}
            mean = scores.get(method)
            cost = next(
                one
                for one in outcome.costs
                if (one.dataset, one.method) == (dataset.dataset, method)
            )
            cells += ["-" if mean is None else f"{mean:.{digits}f}", _gigabytes(cost), _hours(cost)]
        rows.append(tuple(cells))
    columns = tuple(
        column
        for dataset in datasets
        for column in (f"{dataset.dataset}: {metric.key}", "GB", "hours")
    )
    return Table(f"{metric.title}, mean over cases and labels", ("method", *columns), tuple(rows))


def _cost_table(dataset: str, costs: Sequence[MethodCost]) -> Table:
    return Table(
        dataset,
        (
            "method",
            "trainings",
            "hours",
            "GB (nvidia-smi)",
            "GB allocated",
            "GB reserved",
            "kWh",
            "parameters",
            "TFLOP per step",
            "device",
        ),
        tuple(
            (
                one.method,
                str(one.trainings),
                _hours(one),
                _gigabytes(one),
                _figure(one.allocated_gb),
                _figure(one.reserved_gb),
                _figure(one.energy_kwh),
                "-" if one.expected is None else f"{one.expected.parameters:,}",
                "-" if one.expected is None else rounded(one.expected.flops / 1e12),
                one.device or "-",
            )
            for one in costs
        ),
    )


def _gigabytes(cost: MethodCost) -> str:
    value, is_measured = cost.gigabytes
    return "-" if value is None else rounded(value) + ("" if is_measured else " (estimated)")


def _hours(cost: MethodCost) -> str:
    return _figure(cost.hours)


def _figure(value: float | None) -> str:
    return "-" if value is None else rounded(value)
