"""nnU-Net's summary.json: the metrics of every case, their means, and the mean of the means."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from resenc_plans.datasets.dataset import case_of_file
from resenc_plans.datasets.labels import Region
from resenc_plans.errors import FileError, shown
from resenc_plans.evaluation.metrics import METRICS, Metrics
from resenc_plans.files import read_json, write_json
from resenc_plans.reprs import card
from resenc_plans.words import counted

MAX_COUNT = 2**63
"""Voxels of a label; no image has as many."""

SUMMARY_DIGEST = "summary_digest"
"""In metrics beside a summary.json: that of the summary of the same segmentations."""


@dataclass(frozen=True)
class CaseMetrics:
    """The metrics of one case, by label or region."""

    prediction_file: str
    reference_file: str
    metrics: Mapping[Region, Metrics]

    @property
    def name(self) -> str:
        """The prediction's file name."""
        return Path(self.prediction_file).name

    @property
    def case(self) -> str:
        """The prediction's file name without its ending."""
        return case_of_file(self.name)


@dataclass(frozen=True)
class Summary:
    """The content of summary.json."""

    cases: tuple[CaseMetrics, ...]
    regions: tuple[Region, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a summary.json of nnU-Net or ours.

        Raises
        ------
        FileError
            The file cannot be read, or is not a summary.
        """
        return cls.from_dict(read_json(path), os.fspath(path))

    @classmethod
    def from_dict(cls, document: Any, source: str = "summary.json") -> Self:
        """A summary from its document; `source` names it in messages.

        Raises
        ------
        FileError
            A key is missing or has a value of another kind; the message names it.
        """
        reader = _Reader(source)
        cases = []
        for number, entry in enumerate(reader.value(document, "metric_per_case", list)):
            place = f"metric_per_case[{number}]."
            metrics = reader.value(entry, "metrics", dict, place)
            cases.append(
                CaseMetrics(
                    reader.value(entry, "prediction_file", str, place),
                    reader.value(entry, "reference_file", str, place),
                    {
                        reader.region(key): reader.metrics(metrics, key, f"{place}metrics.")
                        for key in metrics
                    },
                )
            )
        mean = reader.value(document, "mean", dict)
        regions = tuple(map(reader.region, mean))
        for number, case in enumerate(cases):
            for region in regions:
                reader.value(case.metrics, region, dict, f"metric_per_case[{number}].metrics.")
        return cls(tuple(cases), regions)

    @cached_property
    def mean(self) -> dict[Region, Metrics]:
        """Per label or region the mean over cases; cases in which a metric is NaN are omitted."""
        return {
            region: {name: _mean([c.metrics[region][name] for c in self.cases]) for name in METRICS}
            for region in self.regions
        }

    @cached_property
    def foreground_mean(self) -> Metrics:
        """The mean of the labels' means without background; NaN if one of them is NaN."""
        foreground = [self.mean[region] for region in self.regions if region != 0]
        return {name: float(np.mean([metrics[name] for metrics in foreground])) for name in METRICS}

    @cached_property
    def digest(self) -> str:
        """Tells these metrics of these cases from others, wherever the files of the cases lie."""
        cases = {
            case.name: {
                str(region): {name: float(value) for name, value in metrics.items()}
                for region, metrics in case.metrics.items()
            }
            for case in self.cases
        }
        return hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()[:16]

    def case_rows(self) -> list[dict[str, Any]]:
        """A row per case and label or region, as `pandas.DataFrame` takes them.

        Keys are `case`, `label` (the key in summary.json), then those of `METRICS`.
        """
        return [
            {"case": case.case, "label": str(region), **case.metrics[region]}
            for case in self.cases
            for region in self.regions
        ]

    def __repr__(self) -> str:
        dice = {str(region): f"Dice {self.mean[region]['Dice']:.4f}" for region in self.regions}
        return card(
            f"Summary of {counted(len(self.cases), 'case')}",
            {"mean": f"Dice {self.foreground_mean['Dice']:.4f}", **dice},
        )

    def moved_to(self, folder: str | os.PathLike[str]) -> Self:
        """The same metrics for predictions of the same names in another folder."""
        cases = tuple(
            replace(case, prediction_file=os.path.join(folder, case.name))  # noqa: PTH118
            for case in self.cases
        )
        return type(self)(cases, self.regions)

    def means(self) -> dict[str, Any]:
        """The document without its cases, as it is written to postprocessing.json too."""
        return {"foreground_mean": dict(self.foreground_mean), "mean": _by_key(self.mean)}

    def to_dict(self) -> dict[str, Any]:
        """The document as nnU-Net writes it, with its order of keys."""
        return self.means() | {
            "metric_per_case": [
                {
                    "metrics": _by_key(case.metrics),
                    "prediction_file": case.prediction_file,
                    "reference_file": case.reference_file,
                }
                for case in self.cases
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write summary.json as nnU-Net does, whole or not at all.

        Raises
        ------
        FileError
            The file cannot be written; an earlier one is unchanged.
        """
        write_json(path, self.to_dict())


@dataclass(frozen=True)
class _Reader:
    """Takes a document apart, and names the key that does not fit."""

    source: str

    def value(self, holder: Any, key: Region | str, kind: Any, place: str = "") -> Any:
        value = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        fault = "is missing" if value is None else f"is {shown(value)}"
        raise self._error(f"{place}{key} {fault}")

    def metrics(self, holder: dict[str, Any], key: str, place: str) -> dict[str, float]:
        metrics = self.value(holder, key, dict, place)
        for name in METRICS:
            value = self.value(metrics, name, (int, float), f"{place}{key}.")
            if isinstance(value, int) and abs(value) > MAX_COUNT:
                raise self._error(f"{place}{key}.{name} is {shown(value)}")
        return dict(metrics)

    def region(self, key: str) -> Region:
        try:
            return region_of_key(key)
        except ValueError:
            raise self._error(f"{shown(key)} is neither a label nor a region") from None

    def _error(self, fault: str) -> FileError:
        return FileError(f"{self.source}: not a summary.json of an evaluation: {fault}.")


def region_of_key(key: str) -> Region:
    """The label or region that a key of summary.json stands for.

    >>> region_of_key("2"), region_of_key("(1, 2)"), region_of_key("(3,)")
    (2, (1, 2), (3,))
    """
    if not key.startswith("("):
        return int(key)
    return tuple(int(part) for part in key.strip("()").split(",") if part.strip())


def _by_key(metrics: Mapping[Region, Metrics]) -> dict[str, dict[str, float]]:
    return dict(sorted((str(region), dict(values)) for region, values in metrics.items()))


def _mean(values: Sequence[float]) -> float:
    if all(math.isnan(value) for value in values):
        return float("nan")
    return float(np.nanmean(values))


def digest_entry(summary: Summary | None) -> dict[str, str]:
    """What metrics of the same segmentations say of their summary."""
    return {} if summary is None else {SUMMARY_DIGEST: summary.digest}
