"""Whether two trained models may be ranked by their validations, and how their runs differ.

Methods may differ: names, plans, networks, and what a method of its own does. What they are trained
and measured with must not: epochs, cases, references, the way of predicting. A rule's id is stable.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from resenc_plans.datasets.finding import SEVERITIES, Severity
from resenc_plans.plans.configuration import PREPROCESSING_KEYS
from resenc_plans.reprs import card, listed
from resenc_plans.runs.find_model import common_folds
from resenc_plans.runs.folds import MAX_NAMES
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_facts import FoldFacts, ModelFacts
from resenc_plans.runs.run_record import (
    OwnCode,
    changed_code,
    decisive_settings,
    equal_values,
)
from resenc_plans.words import counted

_BUDGET = ("epochs", "iterations")


@dataclass(frozen=True)
class Contrast:
    """How two folds differ in what a rule looks at, or that this is not known."""

    fold: str
    text: str
    first: Any
    second: Any
    is_known: bool = True


@dataclass(frozen=True)
class RunPair:
    """Two models, and the folds by which they are compared."""

    first: ModelFacts
    second: ModelFacts

    @property
    def is_one_method(self) -> bool:
        """Whether both bear the name of one method, so that only plans may differ."""
        return self.first.model.trainer == self.second.model.trainer

    def folds(self) -> Iterator[tuple[str, FoldFacts, FoldFacts]]:
        """Each fold, and what is known of it in both."""
        for fold, facts in self.first.folds.items():
            yield fold, facts, self.second.folds[fold]


@dataclass(frozen=True)
class RunRule:
    """A rule: its id, how bad a difference is, what is compared, and how."""

    id: str
    severity: Severity
    """error: a ranking would be wrong; warning: it needs to be said; note: for information."""
    subject: str
    contrasts: Callable[[RunPair], Iterable[Contrast]]


@dataclass(frozen=True)
class RunDifference:
    """One thing in which two models differ, or of which it is not known whether they do."""

    rule: str
    severity: Severity
    subject: str
    """What was compared, such as `epochs and iterations`."""
    message: str
    first: Any
    """The value in the first model; None where it is not known."""
    second: Any
    folds: tuple[str, ...]
    is_known: bool = True

    def __str__(self) -> str:
        """One line, with the rule's id."""
        folds = f"fold{'s' if self.folds[1:] else ''} {', '.join(self.folds)}"
        return f"{self.rule} {self.message} ({folds})"


@dataclass(frozen=True)
class RunComparison:
    """How two models differ, worst first."""

    first: ModelFolder
    second: ModelFolder
    differences: tuple[RunDifference, ...]

    def __repr__(self) -> str:
        names = f"{self.first.identifier} and {self.second.identifier}"
        rows: dict[str, list[str]] = {}
        for one in self.differences:
            key = f"{one.rule} {one.severity}" if one.is_known else "not known"
            rows.setdefault(key, []).append(one.message if one.is_known else one.subject)
        return card(
            f"RunComparison{'' if self.is_comparable else ', not comparable'}: {names}",
            {key: "; ".join(texts) for key, texts in rows.items()},
        )

    @property
    def is_comparable(self) -> bool:
        """Whether nothing that is known forbids to rank them."""
        return not self.of_severity("error")

    @property
    def unknown(self) -> tuple[RunDifference, ...]:
        """What could not be compared."""
        return tuple(one for one in self.differences if not one.is_known)

    def of_severity(self, severity: Severity) -> tuple[RunDifference, ...]:
        """The known differences of a severity."""
        return tuple(one for one in self.differences if one.is_known and one.severity == severity)


def compare_runs(
    first: str | os.PathLike[str], second: str | os.PathLike[str], folds: Sequence[int | str] = ()
) -> RunComparison:
    """Say whether two models are comparable, and how their runs differ, by all of `RULES`.

    Parameters
    ----------
    first, second
        Folders of trained models, ours or nnU-Net's.
    folds
        By default those that both have.

    Raises
    ------
    ModelError
        They have no fold in common.
    FileError
        A record of a run is damaged.
    """
    models = ModelFolder(Path(first)), ModelFolder(Path(second))
    [comparison] = compare_all_runs(models, [*map(str, folds)] or common_folds(models))
    return comparison


def compare_all_runs(
    models: Sequence[ModelFolder], folds: Sequence[str]
) -> tuple[RunComparison, ...]:
    """`compare_runs` of each pair.

    Raises
    ------
    FileError
        A record of a run is damaged.
    """
    return compare_facts([ModelFacts.of(model, folds) for model in models])


def compare_facts(facts: Sequence[ModelFacts]) -> tuple[RunComparison, ...]:
    """How each pair of models differs in what is known of them, trained or to be trained."""
    return tuple(_compare(RunPair(*pair)) for pair in combinations(facts, 2))


def _compare(pair: RunPair) -> RunComparison:
    differences = [one for rule in RULES for one in _differences(rule, pair)]
    differences.sort(key=lambda one: (not one.is_known, SEVERITIES.index(one.severity), one.rule))
    return RunComparison(pair.first.model, pair.second.model, tuple(differences))


def _differences(rule: RunRule, pair: RunPair) -> Iterator[RunDifference]:
    """The rule's contrasts; those that are alike in several folds as one."""
    groups: dict[tuple[bool, str], list[Contrast]] = {}
    for contrast in rule.contrasts(pair):
        groups.setdefault((contrast.is_known, contrast.text), []).append(contrast)
    for (is_known, text), alike in groups.items():
        yield RunDifference(
            rule=rule.id,
            severity=rule.severity,
            subject=rule.subject,
            message=f"{rule.subject}: {text}",
            first=alike[0].first,
            second=alike[0].second,
            folds=tuple(contrast.fold for contrast in alike),
            is_known=is_known,
        )


def _budget(pair: RunPair) -> Iterator[Contrast]:
    def budget(facts: FoldFacts) -> str | None:
        values = [facts.settings.get(key) for key in _BUDGET]
        return None if None in values else "{} x {}".format(*values)

    return _compared(pair, budget)


def _batch_of_variants(pair: RunPair) -> Iterator[Contrast]:
    return _compared(pair, _batch_size) if _differ_in_batch_alone(pair) else iter(())


def _samples(pair: RunPair) -> Iterator[Contrast]:
    def samples(facts: FoldFacts) -> str | None:
        size, values = _batch_size(facts), [facts.settings.get(key) for key in _BUDGET]
        if size is None or None in values:
            return None
        epochs, iterations = values
        return (
            f"{size} x {counted(epochs * iterations, 'iteration')}"
            if epochs and iterations
            else None
        )

    is_judged = _differ_in_batch_alone(pair)
    for contrast in _compared(pair, _batch_size) if not is_judged else ():
        fold = contrast.fold
        first, second = (samples(facts.folds[fold]) for facts in (pair.first, pair.second))
        if first is None or second is None:
            yield contrast
        else:
            yield Contrast(fold, f"{first} and {second}", first, second)


def _method(pair: RunPair) -> Iterator[Contrast]:
    """Settings and code of one method, beside the budget and what the plans say."""
    for fold, one, other in pair.folds() if pair.is_one_method else ():
        yield from _other_settings(fold, one, other, planned=False)
        if one.code is None or other.code is None:
            yield _unknown(fold, one.code, other.code)
            continue
        here, elsewhere = _parts(one.code), _parts(other.code)
        if here != elsewhere:
            text = f"{_listed(here)} and {_listed(elsewhere)}"
            yield Contrast(fold, text, here, elsewhere)
        for text in changed_code(one.code, other.code):
            yield Contrast(fold, text, one.code, other.code)
        if one.changes != other.changes:
            first, second = ("; ".join(side.changes or ()) or "not" for side in (one, other))
            text = f"changed on the way {first} and {second}"
            yield Contrast(fold, text, one.changes, other.changes)


def _methods(pair: RunPair) -> Iterator[Contrast]:
    """Settings of two methods, or of two plans, which are what is compared."""
    for fold, one, other in pair.folds():
        yield from _other_settings(fold, one, other, planned=True)
        if not pair.is_one_method:
            yield from _other_settings(fold, one, other, planned=False)


def _precision(pair: RunPair) -> Iterator[Contrast]:
    return _compared(pair, lambda facts: facts.precision)


def _held_out(pair: RunPair) -> Iterator[Contrast]:
    return _compared_cases(pair, lambda facts: facts.held_out)


def _trained_on(pair: RunPair) -> Iterator[Contrast]:
    return _compared_cases(pair, lambda facts: facts.train)


def _missing(pair: RunPair) -> Iterator[Contrast]:
    yield from _compared_cases(pair, lambda facts: facts.missing)
    for fold, one, other in pair.folds():
        if one.unnamed != other.unnamed:
            text = f"{one.unnamed} and {other.unnamed} of unknown names"
            yield Contrast(fold, text, one.unnamed, other.unnamed)


def _not_predicted(pair: RunPair) -> Iterator[Contrast]:
    def lacking(facts: FoldFacts) -> frozenset[str] | None:
        if facts.held_out is None or facts.scored is None:
            return None
        return facts.held_out - facts.scored

    return _compared_cases(pair, lacking)


def _references(pair: RunPair) -> Iterator[Contrast]:
    """Other numbers of voxels mean other references; equal numbers are taken as the same."""
    for fold, one, other in pair.folds():
        if one.references is None or other.references is None:
            yield _unknown(fold, one.references, other.references)
            continue
        first, second = one.references, other.references
        cases = [
            case for case in sorted(first.keys() & second.keys()) if first[case] != second[case]
        ]
        if cases:
            text = (
                f"other numbers of voxels in {counted(len(cases), 'case')}: "
                f"{listed(cases, MAX_NAMES)}"
            )
            here, elsewhere = ({case: side[case] for case in cases} for side in (first, second))
            yield Contrast(fold, text, here, elsewhere)


def _mirroring(pair: RunPair) -> Iterator[Contrast]:
    return _compared(pair, lambda facts: facts.mirroring)


def _step_size(pair: RunPair) -> Iterator[Contrast]:
    return _compared(pair, lambda facts: facts.step_size)


def _postprocessing(pair: RunPair) -> Iterator[Contrast]:
    return _compared(pair, lambda facts: facts.postprocessing)


def _trained_on_held_out(pair: RunPair) -> Iterator[Contrast]:
    """A held-out case that was trained on makes a model look better than it is."""
    for fold, one, other in pair.folds():
        first, second = (
            tuple(sorted((facts.held_out or frozenset()) & (facts.train or frozenset())))
            for facts in (one, other)
        )
        parts = [
            f"{len(cases)} of the {side} ({listed(cases, MAX_NAMES)})"
            for cases, side in ((first, "first"), (second, "second"))
            if cases
        ]
        if parts:
            yield Contrast(fold, " and ".join(parts), first, second)


def _labels(pair: RunPair) -> Iterator[Contrast]:
    first, second = pair.first.labels, pair.second.labels
    if first is None or second is None or dict(first) == dict(second):
        return
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    text = ", ".join(f"{name} {first.get(name)} and {second.get(name)}" for name in names)
    for fold, _, _ in pair.folds():
        yield Contrast(fold, text, dict(first), dict(second))


def _preprocessing(pair: RunPair) -> Iterator[Contrast]:
    """What the plans say of it; spacings in two and three dimensions do not compare."""
    for fold, one, other in pair.folds():
        if one.configuration is None or other.configuration is None:
            continue  # nnU-Net's plans are in its folders; without them, R101 says so
        for key in PREPROCESSING_KEYS:
            first, second = one.configuration.get(key), other.configuration.get(key)
            if first is None or second is None or equal_values(first, second):
                continue
            if key != "spacing" or len(first) == len(second):
                yield Contrast(fold, f"{key} {first} and {second}", first, second)


RULES: tuple[RunRule, ...] = (
    RunRule("R001", "error", "epochs and iterations", _budget),
    RunRule("R002", "error", "batch size of variants of one plan", _batch_of_variants),
    RunRule("R003", "error", "settings and code of one method", _method),
    RunRule("R004", "error", "held-out cases", _held_out),
    RunRule("R005", "error", "cases trained on", _trained_on),
    RunRule("R006", "error", "missing cases", _missing),
    RunRule("R007", "error", "held-out cases without a prediction", _not_predicted),
    RunRule("R008", "error", "references", _references),
    RunRule("R009", "error", "mirroring in validation", _mirroring),
    RunRule("R010", "error", "step between tiles in validation", _step_size),
    RunRule("R011", "error", "post-processing", _postprocessing),
    RunRule("R012", "error", "labels", _labels),
    RunRule("R013", "error", "held-out cases trained on", _trained_on_held_out),
    RunRule("R101", "warning", "samples seen", _samples),
    RunRule("R102", "warning", "precision", _precision),
    RunRule("R103", "warning", "preprocessing", _preprocessing),
    RunRule("R201", "note", "settings of two methods or plans", _methods),
)


def _compared(pair: RunPair, value_of: Callable[[FoldFacts], Any]) -> Iterator[Contrast]:
    """The folds in which a value differs, or is not known of both."""
    for fold, one, other in pair.folds():
        first, second = value_of(one), value_of(other)
        if first is None or second is None:
            yield _unknown(fold, first, second)
        elif not equal_values(first, second):
            yield Contrast(fold, f"{first} and {second}", first, second)


def _compared_cases(
    pair: RunPair, cases_of: Callable[[FoldFacts], Collection[str] | None]
) -> Iterator[Contrast]:
    """The folds in which a set of cases differs, with the cases of only one of them."""
    for fold, one, other in pair.folds():
        first, second = cases_of(one), cases_of(other)
        if first is None or second is None:
            yield _unknown(fold, first, second)
            continue
        here, elsewhere = sorted({*first} - {*second}), sorted({*second} - {*first})
        if here or elsewhere:
            text = f"{len(here)} only of the first ({listed(here, MAX_NAMES)})" if here else ""
            text += " and " if here and elsewhere else ""
            text += (
                f"{len(elsewhere)} only of the second ({listed(elsewhere, MAX_NAMES)})"
                if elsewhere
                else ""
            )
            yield Contrast(fold, text, tuple(sorted(first)), tuple(sorted(second)))


def _unknown(fold: str, first: Any, second: Any) -> Contrast:
    return Contrast(fold, "not known of both", first, second, is_known=False)


def _batch_size(facts: FoldFacts) -> int | None:
    return None if facts.configuration is None else facts.configuration.get("batch_size")


def _differ_in_batch_alone(pair: RunPair) -> bool:
    """Whether two configurations of one plan have the same patch, so that only batches differ."""
    if pair.first.model.plans != pair.second.model.plans:
        return False
    one, other = (
        next(iter(facts.folds.values())).configuration for facts in (pair.first, pair.second)
    )
    return (
        one is not None
        and other is not None
        and all(equal_values(one.get(key), other.get(key)) for key in ("patch_size", "spacing"))
    )


def _other_settings(
    fold: str, one: FoldFacts, other: FoldFacts, *, planned: bool
) -> Iterator[Contrast]:
    """Settings beside the budget that differ: those that plans name, or all others."""
    in_plans = _named_by_plans(one) | _named_by_plans(other)
    first, second = decisive_settings(one.settings), decisive_settings(other.settings)
    for key in first:
        is_meant = (key.partition(".")[0] in in_plans) == planned and key not in _BUDGET
        if is_meant and key in second and not equal_values(first[key], second[key]):
            text = f"{key} {_shown(first[key])} and {_shown(second[key])}"
            yield Contrast(fold, text, first[key], second[key])


def _shown(value: object) -> str:
    """A setting as a file of settings has it, with six digits."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _named_by_plans(facts: FoldFacts) -> set[str]:
    return {*((facts.configuration or {}).get("training") or ())}


def _parts(code: Mapping[str, OwnCode]) -> dict[str, str]:
    return {part: str(code[part]) for part in sorted(code)}


def _listed(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{part} {code}" for part, code in parts.items()) or "nnU-Net's"
