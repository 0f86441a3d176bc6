"""Scores of several methods in the same cases, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resenc_plans.datasets.labels import Region
from resenc_plans.errors import EvaluationError
from resenc_plans.evaluation.known_metrics import Metric
from resenc_plans.reprs import listed
from resenc_plans.study.results import MethodResult
from resenc_plans.study.statistics.clusters import Floats
from resenc_plans.words import counted

Missing = Literal["omit", "worst"]
Undefined = Literal["omit", "perfect"]


@dataclass(frozen=True)
class Scores:
    """One metric of all methods, on the same cases and labels."""

    metric: Metric
    methods: tuple[str, ...]
    cases: tuple[str, ...]
    labels: tuple[Region, ...]
    measured: Floats
    """`(methods, cases, labels)` as measured; NaN is no value, and infinite ones were none."""

    @property
    def _is_left_out(self) -> NDArray[np.bool_]:
        return np.asarray(np.isnan(self.measured).any(0))

    @property
    def paired(self) -> Floats:
        """The scores that count: where one method has no value, none has."""
        return np.where(self._is_left_out, np.nan, self.measured)

    @property
    def columns(self) -> Floats:
        """`(methods, cases, 1 + labels)`: the mean over a case's labels, then each label."""
        paired = self.paired
        is_valid = ~np.isnan(paired)
        sums, counts = np.where(is_valid, paired, 0.0).sum(2), is_valid.sum(2)
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return np.concatenate([means[..., None], paired], 2)

    def undefined(self) -> list[tuple[Region, int, dict[str, int]]]:
        """By label: in how many cases it does not count, and how many values methods have there."""
        is_left_out, has_value = self._is_left_out, ~np.isnan(self.measured)
        return [
            (
                label,
                int(is_left_out[:, index].sum()),
                {
                    method: int((is_left_out & has_value[number])[:, index].sum())
                    for number, method in enumerate(self.methods)
                },
            )
            for index, label in enumerate(self.labels)
            if is_left_out[:, index].any()
        ]


def common_labels(results: Sequence[MethodResult]) -> tuple[Region, ...]:
    """The labels that all results have.

    Raises
    ------
    EvaluationError
        There is none.
    """
    labels = tuple(
        label for label in results[0].labels if all(label in one.labels for one in results)
    )
    if not labels:
        sets = "; ".join(f"{one.name}: {listed(one.labels)}" for one in results)
        raise EvaluationError(f"The results have no label in common ({sets}).")
    return labels


def common_cases(results: Sequence[MethodResult], missing: Missing) -> tuple[str, ...]:
    """The cases to compare on: those of all results, or with `worst` those of any.

    Raises
    ------
    EvaluationError
        No case is in all results.
    """
    shared = set.intersection(*({*one.cases} for one in results))
    if not shared:
        firsts = "; ".join(f"{one.name}: {listed(one.cases, 3)}" for one in results)
        raise EvaluationError(
            f"The results have no case in common ({firsts}), so they cannot be compared."
            + _without_one(results)
        )
    cases = shared if missing == "omit" else set.union(*({*one.cases} for one in results))
    return tuple(sorted(cases))


def _without_one(results: Sequence[MethodResult]) -> str:
    """Which result to omit, so that the others have cases in common."""
    for one in results if len(results) > 2 else ():
        others = [other for other in results if other is not one]
        shared = set.intersection(*({*other.cases} for other in others))
        if shared:
            return f" Without {one.name}, the others have {counted(len(shared), 'case')} in common."
    return ""


def available_metrics(results: Sequence[MethodResult], known: Sequence[Metric]) -> list[Metric]:
    """Those of some metrics that every result has in one of its cases."""
    return [metric for metric in known if not without_metric(results, metric)]


def without_metric(results: Sequence[MethodResult], metric: Metric) -> tuple[str, ...]:
    """The names of the results that have it in no case."""
    return tuple(one.name for one in results if not _has(one, metric))


def _has(result: MethodResult, metric: Metric) -> bool:
    return any(
        metric.key in figures for case in result.cases.values() for figures in case.metrics.values()
    )


def collect_scores(
    results: Sequence[MethodResult],
    metric: Metric,
    *,
    missing: Missing = "omit",
    undefined: Undefined = "omit",
) -> Scores:
    """The scores of a metric on the cases and labels that the results have in common.

    Parameters
    ----------
    results
        Of one dataset.
    metric
        One that all of them have.
    missing
        A case that a method has not predicted is omitted for all methods, or has the worst score,
        0. Distances have no worst score, so there it is omitted.
    undefined
        A score that is not defined, since neither segmentation has the label, is omitted for all
        methods, or counts as 1; distances are omitted.

    Raises
    ------
    EvaluationError
        No case or no label is in all results.
    """
    cases, labels = common_cases(results, missing), common_labels(results)
    is_filled = metric.is_share and undefined == "perfect"
    values = np.full((len(results), len(cases), len(labels)), np.nan)
    for number, result in enumerate(results):
        for row, case in enumerate(cases):
            if case not in result.cases:
                values[number, row] = 0.0 if metric.is_share else np.nan
                continue
            figures = result.cases[case].metrics
            for column, label in enumerate(labels):
                value = figures.get(label, {}).get(metric.key)
                if value is not None:
                    is_perfect = is_filled and np.isnan(value)
                    values[number, row, column] = 1.0 if is_perfect else value
    values[np.isinf(values)] = np.nan
    return Scores(metric, tuple(one.name for one in results), cases, labels, values)
