"""The command that shows what plans say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import AllowImportOption, DatasetOption, PlansOption
from resenc_plans.cli.render import note, print_table, say, short_json, styled
from resenc_plans.errors import ConfigurationError, PlansError, UsageError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.reprs import numbers
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.plans import Plans


def show(
    configuration: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIGURATION",
            help="Configuration by name. Default: an overview of all.",
            show_default=False,
        ),
    ] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    network: Annotated[
        bool, typer.Option("--network", help="The network stage by stage instead of the values.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for a picture of the network (.svg or .png).",
            show_default=False,
        ),
    ] = None,
    allow_import: AllowImportOption = None,
) -> None:
    """An overview of the plans, or one configuration with where each value comes from.

    Example: resenc-plans show 3d_fullres
    """
    from resenc_plans.cli.scope import find_plans

    plan = find_plans(plans, dataset)
    if network or plot:
        if configuration is None:
            raise UsageError("--network and --plot need a configuration: show 3d_fullres.")
        _show_network(plan, configuration, plot, table=network, allow_import=allow_import or ())
    elif configuration is None:
        _show_overview(plan)
    else:
        _show_configuration(plan, configuration)


def _show_overview(plan: "Plans") -> None:
    from resenc_plans.plans.configuration import PROVENANCE

    document = plan.document
    say(f"{plan.name} for {document.dataset_name or 'an unnamed dataset'}", style="bold")
    made_by = document.experiment_planner_used or "an unknown planner"
    provenance = plan.header.document.get(PROVENANCE)
    recorded = provenance if isinstance(provenance, Mapping) else {}
    if "baseline" in recorded:
        made_by += f" for baseline {recorded['baseline']}"
    elif "gpu_memory_gb" in recorded:
        made_by += f", {recorded['gpu_memory_gb']} GB"
    say(f"{plan.source}: made by {made_by}")
    rows = []
    for name, written in plan.configurations.items():
        try:
            config = plan.resolve(name)
        except PlansError as error:
            rows.append([name, written.inherits_from or "", styled(str(error), "red")])
            continue
        rows.append(
            [
                name,
                written.inherits_from or "",
                numbers(config.spacing, digits=3),
                numbers(config.patch_size),
                str(config.batch_size),
                str(getattr(config.architecture.arch_kwargs, "n_stages", "")),
                config.data_identifier,
                config.architecture.network_class_name.rpartition(".")[2],
            ]
        )
    print_table(
        [
            "configuration",
            "inherits",
            "spacing (mm)",
            "patch",
            "batch",
            "stages",
            "data",
            "network",
        ],
        rows,
    )


def _show_configuration(plan: "Plans", name: str) -> None:
    from resenc_plans.plans.inheritance import INHERITS_FROM, chain, origins

    config = plan.resolve(name)
    written = plan.to_dict()["configurations"]
    say(f"{' <- '.join(chain(written, name))} in {plan.source}", style="bold")
    source = origins(written, name)
    rows = []
    for key, value in _flat(config.to_dict()):
        top = key.partition(".")[0]
        if top == INHERITS_FROM:
            continue
        origin = source.get(top, "old format")
        own = origin == name
        text = "own" if own else origin if origin == "old format" else f"inherited from {origin}"
        rows.append([key, short_json(value), styled(text, "bold" if own else "dim")])
    print_table(["key", "value", "from"], rows, fixed=1)


def _show_network(
    plan: "Plans", name: str, plot: Path | None, *, table: bool, allow_import: Sequence[str]
) -> None:
    from resenc_plans.plans.architectures import OtherArchitecture
    from resenc_plans.plans.configuration import input_channels

    config = plan.resolve(name)
    labels = config.plans.labels()
    channels, heads = input_channels(config, labels), labels.num_heads
    undrawn = None
    if plot:
        from resenc_plans.visualization.network import draw_network

        try:
            draw_network(config, channels, heads, plot)
        except ConfigurationError as error:
            if not table:
                raise
            undrawn = error
    if table and isinstance(config.architecture, OtherArchitecture):
        _print_parts(config, channels, heads, allow_import)
    elif table:
        _print_stages(config, channels, heads)
    if undrawn is not None:
        note(f"{plot}: not drawn. {undrawn}")
        raise typer.Exit(ExitCode.FAILED)
    if plot:
        say(f"Wrote {plot}.")


def _print_stages(config: "ResolvedConfiguration", channels: int, heads: int) -> None:
    from resenc_plans.cost.stages import network_stages

    stages = network_stages(config, channels, heads)
    print_table(
        ["stage", "level", "resolution", "features", "depth", "kernel", "stride", "parameters"],
        [
            [
                stage.part,
                str(stage.level),
                numbers(stage.shape),
                str(stage.features),
                str(stage.depth),
                numbers(stage.kernel_size),
                numbers(stage.stride),
                f"{stage.parameters:,}",
            ]
            for stage in stages
        ],
    )
    _say_total(sum(stage.parameters for stage in stages), channels, heads)


def _print_parts(
    config: "ResolvedConfiguration", channels: int, heads: int, allow_import: Sequence[str]
) -> None:
    """Of a network without stages: its modules, and the sizes of its outputs."""
    from resenc_plans.networks.check import check_network

    network = check_network(config, channels, heads, allow_import=allow_import)
    print_table(
        ["part", "class", "parameters"],
        [[part.name, part.kind, f"{part.parameters:,}"] for part in network.parts],
    )
    _say_total(network.parameters, channels, heads)
    if network.outputs is not None:
        say(f"Outputs in training: {', '.join(map(numbers, network.outputs))} voxels.")
    note("Stages are not shown: they are known of nnU-Net's U-Nets only.")


def _say_total(parameters: int, channels: int, heads: int) -> None:
    say(
        f"{parameters:,} parameters with {counted(channels, 'input channel')} and "
        f"{counted(heads, 'output head')}."
    )


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
