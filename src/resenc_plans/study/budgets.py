"""What a method's training takes: hours and GPU memory, as runs recorded them or a person says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resenc_plans.errors import UsageError, shown
from resenc_plans.planning.published import BudgetMatch, match_budget
from resenc_plans.reprs import listed
from resenc_plans.runs.run_cost import COST_JSON, RunCost, load_cost
from resenc_plans.study.results import MethodResult

MAX_RATIO = 1.5
"""Of two budgets that may be compared without a word."""


@dataclass(frozen=True)
class Budget:
    """Of the training of one fold. None where it is not known."""

    hours: float | None
    gigabytes: float | None
    """At the peak, as nvidia-smi counts."""
    source: str
    """Who says so: cost.json and the device there, or the caller."""
    is_of_cpu: bool = False
    """Whether the training ran on a CPU, so that its hours are no GPU's."""

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """A budget such as `35h,22.7GB`; one of the two may be omitted.

        >>> Budget.parse("22.7GB")
        Budget(hours=None, gigabytes=22.7, source='given', is_of_cpu=False)

        Raises
        ------
        UsageError
            It is none.
        """
        pattern = r"(?:(?P<hours>[\d.]+)h)?,?(?:(?P<gigabytes>[\d.]+)GB)?"
        match = re.fullmatch(pattern, text.replace(" ", ""), re.IGNORECASE)
        try:
            values = [
                float(match[key]) if match and match[key] else None
                for key in ("hours", "gigabytes")
            ]
        except ValueError:
            values = []
        known = [value for value in values if value is not None]
        if not known or min(known) <= 0:
            raise UsageError(
                f"`budgets=` {shown(text)}: hours and GB of a training are needed, such as "
                "35h,22.7GB."
            )
        return cls(values[0], values[1], "given")


def find_budgets(results: Sequence[MethodResult], given: Mapping[str, Budget]) -> dict[str, Budget]:
    """The budgets of a dataset's methods: those that are given, else those of their folds.

    Raises
    ------
    FileError
        A cost.json is damaged.
    """
    budgets = {one.name: given.get(one.name) or _recorded(one) for one in results}
    return {name: budget for name, budget in budgets.items() if budget is not None}


def refuse_unknown(results: Sequence[MethodResult], given: Mapping[str, Budget]) -> None:
    """Make sure that budgets are given of methods that there are.

    Raises
    ------
    UsageError
        One is not.
    """
    names = list(dict.fromkeys(result.name for result in results))
    unknown = [name for name in given if name not in names]
    if unknown:
        raise UsageError(
            f"`budgets=` {shown(unknown[0])}: no method has this name. There is: {listed(names)}."
        )


def nearest_preset(budget: Budget) -> BudgetMatch:
    """The published preset whose memory and hours are nearest."""
    return match_budget(budget.gigabytes, budget.hours)[0]


def _recorded(result: MethodResult) -> Budget | None:
    """The mean of the folds' hours, and the most memory of any."""
    model = result.model
    if model is None:
        return None
    paths = [model.run(fold).path / COST_JSON for fold in result.folds]
    costs = [cost for cost in map(load_cost, filter(Path.is_file, paths)) if cost.sessions]
    if not costs:
        return None
    sizes = [size for size in map(_peak, costs) if size is not None]
    device = costs[0].sessions[0]
    return Budget(
        hours=sum(cost.gpu_hours for cost in costs) / len(costs),
        gigabytes=max(sizes) / 2**30 if sizes else None,
        source=f"{COST_JSON}, {device.device_name}",
        is_of_cpu=device.device == "cpu",
    )


def _peak(cost: RunCost) -> int | None:
    process = cost.peak("process")
    return cost.peak("reserved") if process is None else process
