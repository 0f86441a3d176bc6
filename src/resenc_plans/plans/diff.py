"""What differs between two plans, and what each difference costs whoever has run the first."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from resenc_plans.plans.configuration import PREPROCESSING_KEYS
from resenc_plans.reprs import card
from resenc_plans.words import counted


class Cost(IntEnum):
    """What a difference costs: more than the one before."""

    NOTHING = 0
    TRAIN = 1
    PREPROCESS = 2

    def __str__(self) -> str:
        return ("nothing", "train again", "preprocess again")[self]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()
"""Stands where one side has no such key."""


@dataclass(frozen=True)
class Change:
    """One value that differs. `configuration` is None for keys of the whole file."""

    configuration: str | None
    key: str
    before: Any
    after: Any
    cost: Cost


@dataclass(frozen=True)
class PlansDiff:
    """All differences between two plans, in file order."""

    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        if not self.changes:
            return "PlansDiff: no difference"
        rows = {
            " ".join(part for part in (change.configuration, change.key) if part): _in_short(change)
            for change in self.changes
        }
        return card(
            f"PlansDiff: {counted(len(self.changes), 'difference')}, costs {self.cost}", rows
        )

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def cost(self) -> Cost:
        """The highest cost of any difference."""
        return max((change.cost for change in self.changes), default=Cost.NOTHING)

    def to_dict(self) -> dict[str, Any]:
        """The differences as JSON; an absent value is omitted."""
        rows = []
        for change in self.changes:
            row = {field.name: getattr(change, field.name) for field in fields(change)}
            row["cost"] = str(change.cost)
            rows.append({key: value for key, value in row.items() if value is not ABSENT})
        return {"cost": str(self.cost), "changes": rows}


FREE_KEYS = {
    "inherits_from",
    "data_identifier",
    "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs",
    "median_image_size_in_voxels",
    "next_stage",
}
"""Keys of a configuration that neither preprocessing nor training looks at."""

_COSTLY_FILE_KEYS = {
    "transpose_forward": Cost.PREPROCESS,
    "transpose_backward": Cost.PREPROCESS,
    "image_reader_writer": Cost.PREPROCESS,
    "foreground_intensity_properties_per_channel": Cost.PREPROCESS,
    "foreground_intensity_properties_by_modality": Cost.PREPROCESS,
    "label_manager": Cost.TRAIN,
}


def _in_short(change: Change) -> str:
    if change.key:
        return f"{change.before!r} -> {change.after!r}"
    return "added" if change.before is ABSENT else "removed"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> PlansDiff:
    """The differences from one plans document to another, both with or without inheritance."""
    changes: list[Change] = []
    for key, left, right in _differences(_file_keys(before), _file_keys(after)):
        cost = _COSTLY_FILE_KEYS.get(key.partition(".")[0], Cost.NOTHING)
        changes.append(Change(None, key, left, right, cost))
    old, new = before["configurations"], after["configurations"]
    for name in [*old, *(name for name in new if name not in old)]:
        left, right = old.get(name, ABSENT), new.get(name, ABSENT)
        if left is ABSENT or right is ABSENT:
            cost = Cost.NOTHING if left is ABSENT else Cost.TRAIN
            changes.append(Change(name, "", left, right, cost))
            continue
        for key, one, other in _differences(left, right):
            changes.append(Change(name, key, one, other, _cost_of(key)))
    return PlansDiff(tuple(changes))


def _cost_of(key: str) -> Cost:
    top = key.partition(".")[0]
    if top in PREPROCESSING_KEYS:
        return Cost.PREPROCESS
    return Cost.NOTHING if top in FREE_KEYS else Cost.TRAIN


def _file_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "configurations"}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Any]:
    """`(dotted key, before, after)` of every leaf that differs; lists are leaves."""
    differences: list[Any] = []
    for key in [*old, *(key for key in new if key not in old)]:
        left, right = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            differences += _differences(left, right, f"{prefix}{key}.")
        elif not _same(left, right):
            differences.append((f"{prefix}{key}", left, right))
    return differences


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, NaN is NaN, but true is not 1."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right) or (left != left and right != right)
