"""What differs between two plans, and what each difference costs whoever has run the first."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from resenc_plans.errors import PlansError
from resenc_plans.plans.derivation import PREPROCESSING_KEYS

if TYPE_CHECKING:
    from resenc_plans.plans.plans import Plans


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

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def cost(self) -> Cost:
        """The highest cost of any difference."""
        return max((change.cost for change in self.changes), default=Cost.NOTHING)

    def to_dict(self) -> dict[str, Any]:
        """The differences as JSON; an absent value is left out."""
        rows = []
        for change in self.changes:
            row = {field.name: getattr(change, field.name) for field in fields(change)}
            row["cost"] = str(change.cost)
            rows.append({key: value for key, value in row.items() if value is not ABSENT})
        return {"cost": str(self.cost), "changes": rows}


_FREE_KEYS = {
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


def compare(before: "Plans", after: "Plans", *, resolved: bool = True) -> PlansDiff:
    """The differences from `before` to `after`.

    With `resolved`, configurations are compared as they run, so that a child shows what it gets
    from a parent that changed; otherwise as they are written. A configuration that does not
    resolve is compared as written.
    """
    old, new = before.to_dict(), after.to_dict()
    changes: list[Change] = []
    for key, left, right in _differences(_file_keys(old), _file_keys(new)):
        cost = _COSTLY_FILE_KEYS.get(key.partition(".")[0], Cost.NOTHING)
        changes.append(Change(None, key, left, right, cost))
    names = [
        *old["configurations"],
        *(n for n in new["configurations"] if n not in old["configurations"]),
    ]
    for name in names:
        left = _values(before, old, name, resolved)
        right = _values(after, new, name, resolved)
        if left is None or right is None:
            cost = Cost.NOTHING if left is None else Cost.TRAIN
            changes.append(
                Change(
                    name,
                    "",
                    ABSENT if left is None else left,
                    ABSENT if right is None else right,
                    cost,
                )
            )
            continue
        for key, one, other in _differences(left, right):
            changes.append(Change(name, key, one, other, _cost_of(key)))
    return PlansDiff(tuple(changes))


def _cost_of(key: str) -> Cost:
    top = key.partition(".")[0]
    if top in PREPROCESSING_KEYS:
        return Cost.PREPROCESS
    return Cost.NOTHING if top in _FREE_KEYS else Cost.TRAIN


def _file_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "configurations"}


def _values(
    plan: "Plans", document: Mapping[str, Any], name: str, resolved: bool
) -> dict[str, Any] | None:
    written: dict[str, Any] | None = document["configurations"].get(name)
    if written is None or not resolved:
        return written
    try:
        return plan.resolve(name).to_dict()
    except PlansError:
        return written


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Any]:
    """`(dotted key, before, after)` of every leaf that differs; lists are leaves."""
    found: list[Any] = []
    for key in [*old, *(key for key in new if key not in old)]:
        left, right = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{prefix}{key}.")
        elif not _same(left, right):
            found.append((f"{prefix}{key}", left, right))
    return found


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, NaN is NaN, but true is not 1."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right) or (left != left and right != right)
