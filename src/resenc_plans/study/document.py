"""results.json, as a schema describes it: what `Comparison.to_dict` gives."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from resenc_plans.plans.schema import DIALECT

Figure = float | None
"""Null where it is not defined."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Interval(_Part):
    """Two ends."""

    low: Figure
    """The lower end."""
    high: Figure
    """The upper end."""


class Rank(_Part):
    """The place of a method; 1 is best."""

    rank: Figure
    """In the data; equal methods share the mean of their ranks."""
    probabilities: list[Figure]
    """Of each rank, over the draws."""
    interval: Interval
    """Of ranks."""


class MethodScore(_Part):
    """A method's scores of one metric, for a label or the mean over labels."""

    method: str
    """Its name."""
    label: str
    """As summary.json writes it; `all` for the mean over labels."""
    cases: int
    """That have a score."""
    mean: Figure
    """Over cases."""
    median: Figure
    """Over cases."""
    interval: Interval
    """Of the mean: the percentile interval, expanded for few patients."""
    percentile: Interval
    """Of the mean, without expansion."""
    bca: Interval
    """Of the mean, bias-corrected and accelerated."""
    rank: Rank
    """By the mean."""


class PairScore(_Part):
    """Two methods on the same cases; differences are those of the first minus the second."""

    first: str
    """A method."""
    second: str
    """Another one."""
    label: str
    """As summary.json writes it; `all` for the mean over labels."""
    cases: int
    """That have scores of both."""
    patients: int
    """Of these cases; as many as cases where no patients are named."""
    difference: Figure
    """Of the means."""
    interval: Interval
    """The percentile interval, expanded for few patients."""
    percentile: Interval
    """Without expansion."""
    bca: Interval
    """Bias-corrected and accelerated."""
    p: Figure
    """Of Wilcoxon's signed-rank test; null where no case differs."""
    p_holm: Figure
    """Adjusted over all pairs of this metric and label."""
    wins: int
    """Cases in which the first is better by more than a tie."""
    ties: int
    """Cases in which they are alike."""
    losses: int
    """Cases in which the second is better."""
    detectable: Figure
    """The smallest difference that so many patients would have shown, with a chance of 80%."""
    verdict: Literal["superior", "equivalent", "not inferior", "inferior", "open"] | None
    """Of the first, by the margin; null without one, and for distances."""


class Undefined(_Part):
    """Cases of a label that do not count, since a method has no score there."""

    label: str
    """As summary.json writes it."""
    cases: int
    """How many."""
    scored_by: dict[str, int]
    """By method, in how many of them it has a score."""


class Metric(_Part):
    """All methods by one metric."""

    metric: str
    """Such as Dice or HD95."""
    higher_is_better: bool
    """True of shares, false of distances in mm."""
    methods: list[MethodScore]
    """By label, the mean over labels first."""
    pairs: list[PairScore]
    """By label, the mean over labels first."""
    undefined: list[Undefined]
    """The labels of which cases are left out."""


class Method(_Part):
    """Where a method's results were read."""

    name: str
    """As it is called in the comparison."""
    sources: list[str]
    """The files, or the folder of segmentations."""
    cases: int
    """That it has, compared or not."""
    folds: list[str]
    """Of a trained model."""


class Budget(_Part):
    """What the training of one fold takes."""

    hours: Figure
    """Null where it is not known."""
    gigabytes: Figure
    """Of GPU memory at the peak; null where it is not known."""
    source: str
    """cost.json and the device there, or `given`."""
    is_of_cpu: bool
    """Whether the training ran on a CPU."""


class Finding(_Part):
    """What makes the methods less comparable."""

    rule: str
    """Such as C001 or R001."""
    severity: Literal["error", "warning", "note"]
    """How bad it is."""
    message: str
    """In words."""


class Dataset(_Part):
    """All methods on one dataset."""

    name: str
    """Empty where it is not known."""
    methods: list[Method]
    """In the order in which they were named."""
    labels: dict[str, str]
    """The name of each label; empty where it is not known."""
    cases: list[str]
    """Those that were compared."""
    patients: int | None
    """How many; null where none are named."""
    budgets: dict[str, Budget]
    """Of the methods of which they are known."""
    metrics: list[Metric]
    """That every method has."""
    findings: list[Finding]
    """Worst first."""


class Settings(_Part):
    """How methods were compared."""

    draws: int
    """Of the bootstrap."""
    level: float
    """Of intervals."""
    seed: int
    """Of the draws."""
    tie: Figure
    """Of shares; null for the metrics' own."""
    margin: Figure
    """Of shares; null for none."""
    missing: Literal["omit", "worst"]
    """What cases count that a method lacks."""
    undefined: Literal["omit", "perfect"]
    """What scores count that are not defined."""


class MeanRank(_Part):
    """The mean of a method's ranks over datasets."""

    metric: str
    """Such as Dice."""
    method: str
    """Its name."""
    rank: Figure
    """The mean."""
    interval: Interval
    """From draws within each dataset."""


class ResultsDocument(_Part):
    """A comparison of methods, as `compare` writes it to results.json."""

    settings: Settings
    """How methods were compared."""
    datasets: list[Dataset]
    """Each with its own methods, metrics and findings."""
    mean_ranks: list[MeanRank]
    """Over datasets; empty for one."""


def results_schema() -> dict[str, Any]:
    """The JSON Schema of results.json."""
    return {"$schema": DIALECT, **ResultsDocument.model_json_schema()}
