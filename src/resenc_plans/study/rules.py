"""What makes methods less comparable, or a comparison less sure, as findings with ids."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from resenc_plans.datasets.finding import Finding, Severity, worst_first
from resenc_plans.reprs import listed
from resenc_plans.runs.comparability import compare_all_runs
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.study.budgets import MAX_RATIO, Budget, nearest_preset
from resenc_plans.study.comparison import MetricComparison
from resenc_plans.study.references import differing_references, without_references
from resenc_plans.study.results import MethodResult
from resenc_plans.words import counted

MIN_PATIENTS = 30
"""Below, intervals of bootstraps are too narrow; docs/compare.md has the figures."""


_SAID_OF_EACH = ("R013",)
"""Rules of runs that C008 has for each method, models or not."""


@dataclass(frozen=True)
class Compared:
    """What the rules look at: the results, and what their comparison gave."""

    results: tuple[MethodResult, ...]
    metrics: tuple[MetricComparison, ...]
    patients: int | None
    budgets: Mapping[str, Budget]
    alpha: float
    """Below which a p value counts."""


@dataclass(frozen=True)
class ResultRule:
    """A rule: its id, how bad a violation is, and what it says."""

    id: str
    severity: Severity
    """error: a ranking would be wrong; warning: it needs to be said; note: for information."""
    subject: str
    messages: Callable[[Compared], Iterator[str]]


def find_all(compared: Compared) -> tuple[Finding, ...]:
    """What all rules say, those of the runs of trained models included, worst first."""
    findings = [
        Finding(rule.id, rule.severity, message)
        for rule in RULES
        for message in rule.messages(compared)
    ]
    return worst_first([*findings, *_of_runs(compared.results)])


def _of_runs(results: Sequence[MethodResult]) -> Iterator[Finding]:
    """How the runs of trained models differ, by `resenc_plans.runs.comparability`."""
    of_models = [one for one in results if one.model is not None]
    models: list[ModelFolder] = [one.model for one in of_models if one.model is not None]
    names = {one.model: one.name for one in of_models}
    shared = [fold for one in of_models[:1] for fold in one.folds]
    folds = [fold for fold in shared if all(fold in one.folds for one in of_models)]
    for comparison in compare_all_runs(models, folds) if len(names) > 1 and folds else ():
        pair = f"{names[comparison.first]} and {names[comparison.second]}"
        for one in comparison.differences:
            if one.is_known and one.rule not in _SAID_OF_EACH:
                yield Finding(one.rule, one.severity, f"{pair}: {one.message}")
        if comparison.unknown:
            subjects = listed(dict.fromkeys(one.subject for one in comparison.unknown), 20)
            yield Finding("R000", "note", f"{pair}: not recorded of both: {subjects}")


def _missing_cases(compared: Compared) -> Iterator[str]:
    everything = {case for one in compared.results for case in one.cases}
    for one in compared.results:
        lacking = sorted(everything - {*one.cases})
        if lacking:
            yield (
                f"{one.name}: {len(lacking)} of {counted(len(everything), 'case is', 'cases are')} "
                f"missing: {listed(lacking)}"
            )


def _labels(compared: Compared) -> Iterator[str]:
    everything = dict.fromkeys(label for one in compared.results for label in one.labels)
    for one in compared.results:
        lacking = [label for label in everything if label not in one.labels]
        if lacking:
            yield f"{one.name}: has no label {listed(lacking)}, which the others have"


def _label_names(compared: Compared) -> Iterator[str]:
    for first, second in combinations(compared.results, 2):
        shared = first.label_names.keys() & second.label_names.keys()
        other = [label for label in shared if first.label_names[label] != second.label_names[label]]
        if other:
            label = min(other, key=str)
            yield (
                f"{first.name} and {second.name}: label {label} is "
                f"{first.label_names[label]} in one and {second.label_names[label]} in the other"
            )


def _references(compared: Compared) -> Iterator[str]:
    first = compared.results[0]
    for other in compared.results[1:]:
        cases = differing_references(first, other)
        if cases:
            yield (
                f"{first.name} and {other.name}: the references differ in "
                f"{counted(len(cases), 'case')}: {listed(cases)}"
            )


def _references_by_name(compared: Compared) -> Iterator[str]:
    """References that are not there were compared by name and number of voxels alone."""
    absent = [one.name for one in compared.results if without_references(one)]
    if absent:
        yield (
            f"{listed(absent)}: references cannot be opened where summary.json names them, so they "
            "were compared by the names of cases and by their numbers of voxels"
        )


def _same_twice(compared: Compared) -> Iterator[str]:
    for pair in compared.metrics[0].pairs_of():
        if pair.difference == 0 and pair.wins == pair.losses == 0 and pair.p != pair.p:
            yield f"{pair.first} and {pair.second}: have the same score in every case"


def _unfinished(compared: Compared) -> Iterator[str]:
    for one in compared.results:
        if one.unfinished:
            folds = listed(f"fold {fold}" for fold in one.unfinished)
            yield f"{one.name}: {folds} is not finished, so its cases are left out"


def _not_evaluated(compared: Compared) -> Iterator[str]:
    for one in compared.results:
        if one.problems:
            first = one.problems[0]
            yield (
                f"{one.name}: {counted(len(one.problems), 'segmentation')} could not be evaluated, "
                f"such as {first.case}: {first.reason.rstrip('.')}"
            )


def _trained_on(compared: Compared) -> Iterator[str]:
    for one in compared.results:
        if one.trained_on:
            yield (
                f"{one.name}: was trained on {len(one.trained_on)} of the "
                f"{counted(len(one.cases), 'case')}: {listed(one.trained_on)}"
            )


def _tolerances(compared: Compared) -> Iterator[str]:
    if all(metric.metric.key != "NSD" for metric in compared.metrics):
        return
    for first, second in combinations(compared.results, 2):
        one, other = (
            listed(f"{size:g} mm" for size in result.tolerances) for result in (first, second)
        )
        if one != other:
            yield (
                f"{first.name} and {second.name}: NSD has a tolerance of {one} in one and {other} "
                "in the other"
            )


def _few_patients(compared: Compared) -> Iterator[str]:
    count = compared.patients or len(compared.metrics[0].scores.cases)
    if count < MIN_PATIENTS:
        what = "patient" if compared.patients else "case"
        yield f"{counted(count, what)}: the intervals of so few may be too narrow"


def _too_few_for_difference(compared: Compared) -> Iterator[str]:
    for pair in compared.metrics[0].pairs_of():
        if 0 < abs(pair.difference) < pair.detectable and not pair.p_holm < compared.alpha:
            yield (
                f"{pair.first} and {pair.second}: differ by {abs(pair.difference):.4f}; so few "
                f"cases show only differences of {pair.detectable:.4f} or more"
            )


def _undefined(compared: Compared) -> Iterator[str]:
    for metric in compared.metrics:
        for label, cases, scored in metric.scores.undefined():
            most = {name: count for name, count in scored.items() if count}
            text = ", ".join(f"{name} in {count}" for name, count in most.items())
            yield (
                f"{metric.metric.key} of label {label}: {counted(cases, 'case is', 'cases are')} "
                "left out, since not every method has a "
                "value" + (f" (values there: {text})" if text else "")
            )


def _budgets(compared: Compared) -> Iterator[str]:
    """A method is to be compared with the preset that most closely matches its budget."""
    for name, budget in compared.budgets.items():
        if budget.is_of_cpu:
            continue
        match = nearest_preset(budget)
        ratios = [
            (1 / ratio, what)
            for ratio, what in ((match.vram_ratio, "GPU memory"), (match.hours_ratio, "hours"))
            if ratio and ratio * MAX_RATIO < 1
        ]
        for times, what in ratios:
            yield (
                f"{name}: takes {times:.1f} times the {what} of the nearest preset, "
                f"{match.result.system} ({match.result.vram_gb:g} GB and {match.result.hours:g} h "
                "on an A100, as published)"
            )


def _unlike_budgets(compared: Compared) -> Iterator[str]:
    for first, second in combinations(compared.budgets, 2):
        one, other = compared.budgets[first], compared.budgets[second]
        for what, left, right in (
            ("hours", one.hours, other.hours),
            ("GPU memory", one.gigabytes, other.gigabytes),
        ):
            if left and right and max(left, right) > MAX_RATIO * min(left, right):
                more, less = (first, second) if left > right else (second, first)
                times = max(left, right) / min(left, right)
                yield f"{more}: takes {times:.1f} times the {what} of {less}"


def _unrecorded_folds(compared: Compared) -> Iterator[str]:
    unrecorded = [one.name for one in compared.results if not one.has_recorded_folds]
    if unrecorded:
        yield (
            f"{listed(unrecorded)}: not recorded of which folds the predictions are, so it is "
            "unknown whether cases were trained on (C008) and whether the folds are those of the "
            "other methods"
        )


def _trainings(compared: Compared) -> Iterator[str]:
    counts = {one.trainings for one in compared.results}
    if counts == {1}:
        yield (
            f"each of the {len(compared.results)} methods was trained once: how much another seed "
            "would change is not part of any interval"
        )
        return
    texts = ", ".join(f"{one.trainings} of {one.name}" for one in compared.results)
    yield (
        f"the score of a case is the mean over trainings with different seeds ({texts}), whose "
        "choice is not part of any interval"
    )


RULES: tuple[ResultRule, ...] = (
    ResultRule("C001", "error", "missing cases", _missing_cases),
    ResultRule("C002", "error", "labels", _labels),
    ResultRule("C003", "error", "names of labels", _label_names),
    ResultRule("C004", "error", "references", _references),
    ResultRule("C005", "error", "the same results twice", _same_twice),
    ResultRule("C006", "error", "unfinished folds", _unfinished),
    ResultRule("C007", "error", "segmentations that cannot be evaluated", _not_evaluated),
    ResultRule("C008", "error", "cases trained on", _trained_on),
    ResultRule("C009", "error", "tolerances of NSD", _tolerances),
    ResultRule("C101", "warning", "undefined scores", _undefined),
    ResultRule("C102", "warning", "few cases", _few_patients),
    ResultRule("C103", "warning", "too few cases for the difference", _too_few_for_difference),
    ResultRule("C104", "warning", "budget beyond the nearest preset's", _budgets),
    ResultRule("C105", "warning", "budgets of two methods", _unlike_budgets),
    ResultRule("C201", "note", "references by name", _references_by_name),
    ResultRule("C202", "note", "seeds", _trainings),
    ResultRule("C203", "note", "folds that are not recorded", _unrecorded_folds),
)
"""Beside those of `resenc_plans.runs.comparability.RULES`, which look at trained models."""
