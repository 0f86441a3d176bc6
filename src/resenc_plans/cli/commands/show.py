"""The command that shows what plans say."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import DatasetOption, PlansOption
from resenc_plans.cli.render import print_table, say, short_json, styled
from resenc_plans.errors import PlansError, UsageError
from resenc_plans.reprs import numbers

if TYPE_CHECKING:
    from resenc_plans.plans.plans import Plans


def show(
    configuration: Annotated[str | None, typer.Argument(show_default=False)] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    network: Annotated[
        bool, typer.Option("--network", help="The network stage by stage instead of the values.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw the network into an .svg or .png.", show_default=False
        ),
    ] = None,
) -> None:
    """An overview of the plans, or one configuration with where each value comes from.

    Example: resenc-plans show 3d_fullres
    """
    from resenc_plans.cli.scope import find_plans

    plan = find_plans(plans, dataset)
    if network or plot:
        if configuration is None:
            raise UsageError("--network and --plot need a configuration: show 3d_fullres.")
        _show_network(plan, configuration, plot, table=network)
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
    target = f", {provenance['gpu_memory_gb']} GB" if isinstance(provenance, Mapping) else ""
    say(f"{plan.source}: made by {made_by}{target}")
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


def _show_network(plan: "Plans", name: str, plot: Path | None, *, table: bool) -> None:
    from resenc_plans.plans.configuration import input_channels

    config = plan.resolve(name)
    labels = config.plans.labels()
    channels, heads = input_channels(config, labels), labels.num_heads
    if plot:
        from resenc_plans.visualization.network import draw_network

        draw_network(config, channels, heads, plot)
    if table:
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
        total = sum(stage.parameters for stage in stages)
        say(f"{total:,} parameters with {channels} input channels and {heads} output heads.")
    if plot:
        say(f"Wrote {plot}.")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
