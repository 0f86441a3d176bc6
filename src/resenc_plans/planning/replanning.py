"""Plan again where a plans file lies already: what survives, what would be lost, what changes.

nnU-Net keeps configurations that the new plans do not have (save_plans) and replaces the rest
without a word. We keep the same ones and say everything.
"""

from dataclasses import dataclass

from resenc_plans.plans.configuration import PROVENANCE
from resenc_plans.plans.diff import ABSENT, Change
from resenc_plans.plans.inheritance import INHERITS_FROM
from resenc_plans.plans.plans import Plans


@dataclass(frozen=True)
class Replanning:
    """New plans that take the place of old ones.

    `lost` are values of planned configurations that differ (another planner, another target, or a
    hand edit); `inherited` are values that kept configurations now get from their parents.
    """

    plans: Plans
    kept: tuple[str, ...]
    lost: tuple[Change, ...]
    inherited: tuple[Change, ...]

    @property
    def harmless(self) -> bool:
        """Whether nothing of the old file is lost or changes its meaning."""
        return not self.lost and not self.inherited


def replan(old: Plans, new: Plans) -> Replanning:
    """Put `new` in the place of `old`, keeping the configurations that only `old` has."""
    document = new.to_dict()
    before = old.to_dict()
    provenance = document.pop(PROVENANCE, None)
    planned = tuple(document["configurations"])
    kept = tuple(name for name in before["configurations"] if name not in planned)
    document["configurations"].update({name: before["configurations"][name] for name in kept})
    if provenance is not None:
        derived = {
            name: before["configurations"][name][INHERITS_FROM]
            for name in kept
            if INHERITS_FROM in before["configurations"][name]
        }
        document[PROVENANCE] = provenance | ({"derived": derived} if derived else {})
    merged = Plans.from_dict(document, new.source, path=new.path)
    changes = [change for change in old.diff(merged).changes if _matters(change)]
    return Replanning(
        merged,
        kept,
        tuple(change for change in changes if change.configuration not in kept),
        tuple(change for change in changes if change.configuration in kept),
    )


_RECORDED = tuple(f"{PROVENANCE}.{key}" for key in ("preset", "gpu_memory_gb", "batch_cap"))


def _matters(change: Change) -> bool:
    """Whether a change is one to ask about: not what provenance merely records anew."""
    if change.key.partition(".")[0] in (PROVENANCE, "$schema"):
        return change.key in _RECORDED or change.after is ABSENT
    return True
