"""The table of configurations that `create` and `derive` print: sizes and what they cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resenc_plans.cli.measurement import calibration_in_use
from resenc_plans.cli.render import print_table, say
from resenc_plans.errors import ResencPlansError
from resenc_plans.reprs import numbers

if TYPE_CHECKING:
    from resenc_plans.cost.calibration import Calibration
    from resenc_plans.datasets.labels import Labels
    from resenc_plans.planning.fitting import FittedNetwork
    from resenc_plans.plans.configuration import ResolvedConfiguration


def print_configurations(
    configs: "Sequence[ResolvedConfiguration]",
    labels: "Labels | None",
    cases: int | None,
    fits: "Mapping[str, FittedNetwork] | None" = None,
) -> None:
    """Print sizes, the share of the dataset in a batch and the estimated GPU memory.

    With `fits`, what limited the patch and the batch of each planned configuration.
    """
    calibration = calibration_in_use()
    rows = []
    for config in configs:
        fit = None if fits is None else fits.get(config.name)
        row = [
            config.name,
            numbers(config.spacing, digits=3),
            numbers(config.median_image_size_in_voxels),
            numbers(config.patch_size),
            _stages(config),
            str(config.batch_size),
            _share(config, cases, fit),
            "-" if labels is None else _memory(config, labels, calibration),
        ]
        if fits is not None:
            row.append(_limits(fit) if fit else f"as {config.to_dict()['inherits_from']}")
        rows.append(row)
    columns = ["configuration", "spacing (mm)", "median", "patch", "stages", "batch", "share", "GB"]
    print_table(columns if fits is None else [*columns, "limited by"], rows)
    limits = "" if fits is None else " Limited by: what limits the patch; the batch."
    say(f"Share: of the dataset's voxels, per batch.{limits}")
    say(
        "GB: estimated range of the GPU memory in training, as nvidia-smi shows it. "
        f"Calibrated to: {calibration.name}."
    )


def _stages(config: "ResolvedConfiguration") -> str:
    from resenc_plans.plans.architectures import UNetArguments

    arguments = config.architecture.arch_kwargs
    return str(arguments.n_stages) if isinstance(arguments, UNetArguments) else ""


def _share(config: "ResolvedConfiguration", cases: int | None, fit: "FittedNetwork | None") -> str:
    from resenc_plans.plans.configuration import dataset_share

    if fit is not None:
        return f"{fit.dataset_share:.2%}"
    share = dataset_share(config, cases) if cases else None
    return "" if share is None else f"{share:.2%}"


def _memory(config: "ResolvedConfiguration", labels: "Labels", calibration: "Calibration") -> str:
    """The estimated range; a dash for networks whose cost is not known without torch."""
    from resenc_plans.cost.estimate import estimate_cost
    from resenc_plans.plans.configuration import input_channels

    try:
        memory = estimate_cost(
            config,
            input_channels(config, labels),
            labels.num_heads,
            regions=labels.has_regions,
            calibration=calibration,
        ).gpu_memory_gb
    except ResencPlansError:
        return "-"
    return f"{memory.low:.1f}-{memory.high:.1f}"


def _limits(fit: "FittedNetwork") -> str:
    return f"{fit.patch_limit.removesuffix(' size')}; {fit.batch_limit}"
