"""The option --baseline of `create`: plans of one published system, or of all."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.cli.plans_table import print_configurations
from resenc_plans.cli.plans_writing import PlansWriting
from resenc_plans.cli.render import end_with, note, print_table, say
from resenc_plans.errors import ResencPlansError, UsageError
from resenc_plans.reprs import numbers

if TYPE_CHECKING:
    from resenc_plans.planning.baselines.baseline import Baseline, BaselinePlans, BaselineSettings

ALL = "all"


def create_baselines(
    name: str,
    settings: "BaselineSettings",
    begin: Callable[[], PlansWriting],
    *,
    provenance: bool,
) -> None:
    """Write the plans of the baseline `name`, or of all that can be planned here.

    `begin` reads the dataset, once the options are known to be possible.

    Raises
    ------
    ResencPlansError
        As `Baseline.plan` and `PlansWriting.write`, where it is one.
    """
    from resenc_plans.planning.baselines.registry import baselines, find_baseline

    if name != ALL:
        baseline = find_baseline(name)
        baseline.require()
        _create(baseline, settings, begin(), provenance=provenance)
        return
    writing = begin()
    if settings.name is not None or (writing.output is not None and writing.output.suffix):
        raise UsageError(
            f"--baseline {ALL} writes a file for each baseline, named after it: omit --name, and "
            "give a folder as --output."
        )
    from resenc_plans.execution.cases import CaseProblem, together

    created, problems, remarks = [], [], []
    for baseline in baselines():
        if baseline.missing is not None:
            remarks.append(CaseProblem(baseline.name, baseline.missing))
            continue
        try:
            planned = baseline.plan(
                writing.fingerprint, writing.dataset, settings, provenance=provenance
            )
            problems += writing.write(planned.plans, lambda _: None)
        except ResencPlansError as error:
            problems.append(CaseProblem(baseline.name, str(error)))
            continue
        created.append(planned)
        remarks += [CaseProblem(baseline.name, remark) for remark in planned.remarks]
    _note([str(remark) for remark in together(remarks)])
    _print_all(created)
    end_with(problems)


def _create(
    baseline: "Baseline", settings: "BaselineSettings", writing: PlansWriting, *, provenance: bool
) -> None:
    planned = baseline.plan(writing.fingerprint, writing.dataset, settings, provenance=provenance)
    _note(planned.remarks)
    problems = writing.write(planned.plans, partial(_print, planned, writing))
    if baseline.unknown or baseline.differences:
        say(
            f"{baseline.title}: {baseline.nearness}. `resenc-plans baselines {baseline.name}` says "
            "how these plans differ from the study's and what is not known."
        )
    end_with(problems)


def _print(planned: "BaselinePlans", writing: PlansWriting, target: Path) -> None:
    from resenc_plans.plans.twins import twins

    plans = planned.plans
    print_configurations(
        [plans.resolve(name) for name in plans.configurations],
        writing.dataset.labels,
        writing.dataset.json.num_training,
    )
    for twin in twins(plans, target):
        say(str(twin))


def _print_all(created: "Sequence[BaselinePlans]") -> None:
    rows = []
    for planned in created:
        for name in planned.plans.configurations:
            config = planned.plans.resolve(name)
            rows.append(
                [
                    planned.baseline.name,
                    name,
                    numbers(config.spacing, digits=3),
                    numbers(config.patch_size),
                    config.batch_size,
                    config.data_identifier,
                ]
            )
    print_table(["baseline", "configuration", "spacing (mm)", "patch", "batch", "data"], rows)


def _note(remarks: Sequence[str]) -> None:
    for remark in remarks:
        note(remark.replace("`patch_size=`", "--patch-size"))
