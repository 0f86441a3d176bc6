"""The baselines by name: this package's, and those that programs add."""

from difflib import get_close_matches

from resenc_plans.errors import PlanningError, expect_type
from resenc_plans.planning.baselines.baseline import Baseline
from resenc_plans.planning.baselines.table import BASELINES

_BASELINES: dict[str, Baseline] = {baseline.name: baseline for baseline in BASELINES}


def baselines() -> tuple[Baseline, ...]:
    """All baselines: the study's systems, variants, then those that were registered."""
    return tuple(_BASELINES.values())


def register_baseline(baseline: Baseline) -> None:
    """Make a baseline of your own known to `find_baseline` and the command line.

    Raises
    ------
    PlanningError
        Its name or its plans' name is already taken.
    """
    expect_type(baseline, Baseline, "baseline", "Baseline(...)")
    for known in baselines():
        if {known.name, known.plans_name} & {baseline.name, baseline.plans_name}:
            raise PlanningError(
                f"Baseline {baseline.name!r}: its name or plans name is {known.name}'s already."
            )
    _BASELINES[baseline.name] = baseline


def find_baseline(name: str) -> Baseline:
    """The baseline of a name, such as mednext-l-k3, or of its plans' name.

    Raises
    ------
    PlanningError
        There is none; the message suggests the nearest.
    UsageError
        `name` is no string.
    """
    expect_type(name, str, "name", "the name of a baseline, such as 'mednext-l-k3'")
    by_name = {_folded(known.plans_name): known for known in baselines()}
    by_name |= {_folded(known.name): known for known in baselines()}
    if _folded(name) in by_name:
        return by_name[_folded(name)]
    beginning = [known for known in by_name if len(name) > 2 and known.startswith(_folded(name))]
    close = beginning or get_close_matches(_folded(name), by_name)
    nearest = list(dict.fromkeys(by_name[match].name for match in close))[:3]
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    known_names = ", ".join(known.name for known in baselines())
    raise PlanningError(f"There is no baseline {name!r}.{hint} Known baselines: {known_names}.")


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
