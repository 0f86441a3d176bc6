"""What the checks have against one configuration, for whoever is about to run it."""

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans


def remarks_on(config: ResolvedConfiguration, dataset: Dataset) -> tuple[str, ...]:
    """A line for each error and warning of the checks about a configuration and its whole file."""
    header = config.plans
    plan = Plans(header.to_dict(), header.source, header.path)
    return tuple(
        f"{plan.source}: {finding.line}"
        for finding in plan.validate_rules(dataset)
        if finding.configuration in (None, config.name) and finding.severity != "note"
    )
