"""What the checks have against one configuration, for whoever is about to run it."""

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.finding import Finding
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans


def findings_of(config: ResolvedConfiguration, dataset: Dataset) -> tuple[Finding, ...]:
    """Errors and warnings of `Plans.validate_rules` about a configuration and its whole file."""
    header = config.plans
    plan = Plans(header.to_dict(), header.source, header.path)
    return tuple(
        finding
        for finding in plan.validate_rules(dataset)
        if finding.configuration in (None, config.name) and finding.severity != "note"
    )
