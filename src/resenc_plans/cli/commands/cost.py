"""The command about cost: what configurations take in training and in use."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.measurement import Network, measure_networks
from resenc_plans.cli.options import (
    AllowImportOption,
    DatasetOption,
    Format,
    FormatOption,
    PlansOption,
    option_names,
    with_options,
)
from resenc_plans.cli.pricing import price
from resenc_plans.cli.render import note, print_json, print_table, say
from resenc_plans.errors import ResencPlansError, UsageError
from resenc_plans.execution.exit_codes import ExitCode
from resenc_plans.reprs import numbers, rounded
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.cost.calibration import Range
    from resenc_plans.cost.estimate import Cost
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.profiling.trace import TraceCost

_GIB = 2**30
MAX_AT_ONCE = 500
"""Configurations that are priced unless they are named: a table of more is none."""


def cost(
    context: typer.Context,
    configurations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIGURATION",
            help="Configurations by name, one or several. Default: all.",
            show_default=False,
        ),
    ] = None,
    plans: PlansOption = None,
    dataset: DatasetOption = None,
    input_channels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Channels of the network's input. Default: from dataset.json beside the plans.",
            show_default=False,
        ),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Labels with the background, or regions. Default: from dataset.json.",
            show_default=False,
        ),
    ] = None,
    regions: Annotated[
        bool | None,
        typer.Option(
            "--regions/--labels",
            help="Whether the loss is that of regions. Default: from dataset.json.",
            show_default=False,
        ),
    ] = None,
    gpus: Annotated[int, typer.Option(metavar="N", min=1, help="GPUs that share the batch.")] = 1,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Run a few training steps on the CUDA GPU here as well, print what they take, and "
            "calibrate to it from then on.",
        ),
    ] = False,
    allow_import: AllowImportOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Estimate GPU memory, hours and arithmetic of training, and the memory of prediction.

    No GPU is needed. Figures are estimates with a range, from the calibration named below them.
    Example: resenc-plans cost 3d_fullres
    """
    from resenc_plans.cli.scope import find_plans

    plan = find_plans(plans, dataset)
    priced: dict[str, _Priced] = {}
    if not configurations and len(plan.configurations) > MAX_AT_ONCE:
        raise UsageError(
            f"{plan.source}: has {len(plan.configurations)} configurations. Name at most "
            f"{MAX_AT_ONCE} of them."
        )
    for name in configurations or ():
        plan.resolve(name)
    failures: dict[str, ResencPlansError] = {}
    for name in configurations or plan.configurations:
        try:
            network = _network(plan.resolve(name), input_channels, heads, regions)
            batch = -(-network.config.batch_size // gpus)
            priced[name] = _Priced(network, price(network, gpus, allow_import or ()), batch)
        except ResencPlansError as error:
            failures[name] = error
    if failures and not priced:
        raise next(iter(failures.values()))
    for name, failure in failures.items():
        note(with_options(f"{name}: omitted. {failure}", option_names(context.command.params)))
    if measure:
        measure_networks(_measurable(priced.values(), gpus))
    if format is Format.JSON:
        print_json({name: asdict(one.cost) for name, one in priced.items()})
    else:
        _print(priced)
        _print_workers(dataset, [one.network.config for one in priced.values()])
    if configurations and failures:
        raise typer.Exit(ExitCode.FAILED)


@dataclass(frozen=True)
class _Priced:
    network: Network
    cost: "Cost | TraceCost"
    batch_size: int
    """Of the GPU with the largest share."""


def _network(
    config: "ResolvedConfiguration",
    channels: int | None,
    heads: int | None,
    regions: bool | None,
) -> Network:
    if channels is None or heads is None:
        from resenc_plans.plans.configuration import input_channels

        labels = config.plans.labels()
        channels = input_channels(config, labels) if channels is None else channels
        heads = labels.num_heads if heads is None else heads
        regions = labels.has_regions if regions is None else regions
    return Network(config, channels, heads, bool(regions))


def _measurable(priced: Iterable[_Priced], gpus: int) -> "list[tuple[Network, Cost]]":
    from resenc_plans.cost.estimate import Cost

    if gpus > 1:
        raise UsageError("--measure runs on one GPU: omit --gpus.")
    return [(one.network, one.cost) for one in priced if isinstance(one.cost, Cost)]


def _print_workers(dataset: str | None, configs: "Sequence[ResolvedConfiguration]") -> None:
    """The memory of a process that preprocesses, where the dataset has images."""
    from resenc_plans.cli.scope import find_scope
    from resenc_plans.errors import DatasetError

    try:
        data = find_scope(dataset).dataset()
    except DatasetError:
        return
    if not configs or not any(case.images for case in data.cases):
        return
    from resenc_plans.preprocessing.preprocessor import Preprocessor

    memory = max(Preprocessor(config).memory_per_worker(data) for config in configs)
    say(
        f"Preprocessing takes at most {_gib(memory)} GiB per worker, by the headers of "
        f"{counted(len(data.cases), 'case')}."
    )


def _print(priced: "dict[str, _Priced]") -> None:
    if not priced:
        return
    print_table(
        ["configuration", "parameters", "batch", "memory (GB)", "hours", "step", "TFLOP"],
        [_training_row(name, one.cost, one.batch_size) for name, one in priced.items()],
        title="Training",
        fixed=7,
    )
    _explain_training([one.cost for one in priced.values()])
    _say_published(priced)
    print_table(
        ["configuration", "median case", "GPU (GiB)", "main memory (GiB)", "export (GiB)"],
        [_inference_row(name, one) for name, one in priced.items()],
        title="Prediction",
        fixed=5,
    )
    say(
        "Tensors and arrays only, as in nnU-Net 2.8.1; Python and CUDA need more. "
        "All figures are estimates."
    )


def _explain_training(costs: "Sequence[Cost | TraceCost]") -> None:
    from resenc_plans.cost.estimate import Cost

    estimates = [cost for cost in costs if isinstance(cost, Cost)]
    if estimates:
        _explain_estimates(estimates)
    if len(estimates) < len(costs):
        say(
            "Other networks than nnU-Net's U-Nets are traced. At least: GiB of the tensors of one "
            "step on one GPU; CUDA and its libraries need more. The memory before it and the hours "
            "are what U-Nets with as large tensors would take; docs/cost.md compares them with "
            "published ones. The GPU memory of prediction is not known."
        )


def _say_published(priced: "dict[str, _Priced]") -> None:
    """What the study found, where plans are those of one of its systems."""
    from resenc_plans.planning.baselines.registry import baselines

    if "3d_fullres" not in priced:
        return
    plans = priced["3d_fullres"].network.config.plans.name
    baseline = next((known for known in baselines() if known.plans_name == plans), None)
    published = baseline and baseline.published
    if published:
        say(
            f"Published of {published.system}: {published.vram_gb:g} GB and {published.hours:g} "
            "hours, means of six datasets on an A100 40 GB (nnU-Net Revisited, arXiv 2404.09556)."
        )


def _explain_estimates(costs: "Sequence[Cost]") -> None:
    first = costs[0]
    calibration = first.calibration
    per = "" if first.gpus == 1 else " Per GPU."
    say(
        f"Memory: expected of the GPU in training (low-high), as nvidia-smi shows it.{per} "
        f"Calibrated to: {calibration.name} ({calibration.source})."
    )
    if first.gpus == 1:
        say(
            "Hours: the standard 1000 epochs on that GPU. Step: the time of a training step, in "
            "steps of the default preset."
        )
    if not all(cost.hours for cost in costs):
        say(
            "A dash: the network, its size or the number of GPUs is unlike those of the "
            "calibration. Except for small networks, the range of memory is wider then."
        )


def _training_row(name: str, cost: "Cost | TraceCost", batch: int) -> Sequence[Any]:
    from resenc_plans.cost.estimate import Cost

    parameters, arithmetic = f"{cost.parameters / 1e6:.1f} M", rounded(cost.flops / 1e12)
    if not isinstance(cost, Cost):
        memory = f"{cost.expected_gpu_memory_gb:.1f} (at least {_gib(cost.peak_bytes)})"
        hours = "-" if cost.expected_hours is None else rounded(cost.expected_hours, 2)
        return [name, parameters, batch, memory, hours, "-", arithmetic]
    return [
        name,
        parameters,
        batch,
        _memory(cost.gpu_memory_gb),
        str(cost.hours) if cost.hours else "-",
        f"{rounded(cost.relative_time, 2)}x" if cost.relative_time else "-",
        arithmetic,
    ]


def _inference_row(name: str, one: "_Priced") -> Sequence[Any]:
    from resenc_plans.cost.estimate import Cost
    from resenc_plans.cost.prediction_memory import host_cost

    network = one.network
    known = one.cost.inference if isinstance(one.cost, Cost) else None
    host = known or host_cost(
        network.config, network.input_channels, network.heads, regions=network.regions
    )
    return [
        name,
        numbers(host.shape),
        "-" if known is None else _gib(known.device_bytes),
        _gib(host.host_bytes),
        _gib(host.export_bytes),
    ]


def _memory(memory: "Range") -> str:
    return f"{memory.expected:.1f} ({memory.low:.1f}-{memory.high:.1f})"


def _gib(size: int) -> str:
    return f"{size / _GIB:.{1 if size >= _GIB else 2}f}"
