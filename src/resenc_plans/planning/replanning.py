"""Plan again where a plans file already exists: what survives, what would be lost, what changes.

nnU-Net keeps configurations that the new plans do not have (save_plans) and replaces the rest
without a word. We keep the same ones and list what changes.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import PlanningError
from resenc_plans.files import make_folder, replace_file
from resenc_plans.folders import DATASET_JSON
from resenc_plans.plans.configuration import PROVENANCE
from resenc_plans.plans.diff import ABSENT, Change
from resenc_plans.plans.inheritance import INHERITS_FROM
from resenc_plans.plans.plans import Plans

MAX_LISTED = 20
"""Changes of one kind that a description lists."""


@dataclass(frozen=True)
class Replanning:
    """New plans for a file that may hold others.

    Attributes
    ----------
    plans
        What would be written: the new plans, with the configurations that only the file has.
    path
        The file.
    retained
        The configurations that only the file has.
    lost
        Values of planned configurations that differ: another planner, another target, or a hand
        edit.
    inherited
        Values that retained configurations would get from their parents.
    """

    plans: Plans
    path: Path
    retained: tuple[str, ...] = ()
    lost: tuple[Change, ...] = ()
    inherited: tuple[Change, ...] = ()

    @property
    def harmless(self) -> bool:
        """Whether nothing in the file is lost or changes its meaning."""
        return not self.lost and not self.inherited

    def describe(self) -> str:
        """What is lost or changes its meaning, one change a line; empty if harmless."""
        lines: list[str] = []
        for title, changes in (
            (
                "These planned values differ (another planner, target or fingerprint, or a hand "
                "edit):",
                self.lost,
            ),
            (
                "These configurations are kept, but would get other values from their parents:",
                self.inherited,
            ),
        ):
            if changes:
                lines.append(title)
                lines += [
                    f"  {change.configuration or 'file'}: {change.key or '(whole)'}: "
                    f"{_short(change.before)} -> {_short(change.after)}"
                    for change in changes[:MAX_LISTED]
                ]
                more = len(changes) - MAX_LISTED
                lines += [f"  and {more} more"] if more > 0 else []
        return "\n".join(lines)

    def refuse_losses(self) -> None:
        """Stop where something would be lost.

        Raises
        ------
        PlanningError
            The plans are not harmless; the message lists what would change.
        """
        if not self.harmless:
            raise PlanningError(
                f"{self.path} exists and is not what would be written now.\n{self.describe()}\n"
                "Nothing was written. `overwrite=` replaces it and keeps your own configurations; "
                "`name=` writes beside it. To keep a hand edit, derive a configuration with it."
            )


def replan(path: str | os.PathLike[str], plans: Plans) -> Replanning:
    """What becomes of the file at `path`, if any, where `plans` are written to it.

    Raises
    ------
    FileError, PlansError
        The file is no plans file.
    """
    path = Path(path)
    return merge(Plans.load(path), plans, path) if path.exists() else Replanning(plans, path)


def merge(old: Plans, new: Plans, path: Path) -> Replanning:
    """Put `new` in the place of `old`, keeping the configurations that only `old` has."""
    document = new.to_dict()
    before = old.to_dict()
    provenance = document.pop(PROVENANCE, None)
    planned = tuple(document["configurations"])
    retained = tuple(name for name in before["configurations"] if name not in planned)
    document["configurations"].update({name: before["configurations"][name] for name in retained})
    if provenance is not None:
        derived = {
            name: before["configurations"][name][INHERITS_FROM]
            for name in retained
            if INHERITS_FROM in before["configurations"][name]
        }
        document[PROVENANCE] = provenance | ({"derived": derived} if derived else {})
    merged = Plans.from_dict(document, new.source)
    changes = [change for change in old.diff(merged).changes if _matters(change)]
    return Replanning(
        plans=merged,
        path=path,
        retained=retained,
        lost=tuple(change for change in changes if change.configuration not in retained),
        inherited=tuple(change for change in changes if change.configuration in retained),
    )


def save_plans(
    plans: Plans, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Replanning:
    """Write plans to a file that may hold others, whose own configurations survive.

    Raises
    ------
    PlanningError
        Without `overwrite`: values in the file would be lost; nothing was written.
    FileError, PlansError
        The file is no plans file, or cannot be written.
    """
    replanning = replan(path, plans)
    if not overwrite:
        replanning.refuse_losses()
    make_folder(replanning.path.parent)
    replanning.plans.save(replanning.path)
    return replanning


def copy_dataset_json(raw: Path, preprocessed: Path) -> None:
    """Put dataset.json beside the plans, as nnU-Net does, where it lies elsewhere."""
    if raw != preprocessed:
        with replace_file(preprocessed / DATASET_JSON) as stream:
            stream.write((raw / DATASET_JSON).read_bytes())


_RECORDED = tuple(
    f"{PROVENANCE}.{key}" for key in ("preset", "gpu_memory_gb", "batch_cap", "baseline")
)


def _matters(change: Change) -> bool:
    """Whether a change is one to ask about: not what provenance merely records anew."""
    if change.key.partition(".")[0] in (PROVENANCE, "$schema"):
        return change.key in _RECORDED or change.after is ABSENT
    return True


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 70 else text[:67] + "..."
