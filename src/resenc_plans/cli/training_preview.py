"""The option --dry-run of `train`: data, network, cost and hours before anything starts."""

from pathlib import Path
from typing import TYPE_CHECKING

from resenc_plans.cli.render import note, say
from resenc_plans.errors import ResencPlansError
from resenc_plans.reprs import numbers, rounded
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.cost.estimate import Cost
    from resenc_plans.datasets.dataset import Dataset
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.plans.training_settings import TrainingSettings
    from resenc_plans.profiling.trace import TraceCost
    from resenc_plans.runs.folds import FoldCases

_STANDARD_ITERATIONS = 1000 * 250
_GIB = 2**30


def print_task(
    config: "ResolvedConfiguration",
    fold: int | str,
    cases: "FoldCases",
    settings: "TrainingSettings",
) -> None:
    """Print which data is trained on, and what network."""
    from resenc_plans.runs.folds import ALL, count_folds, is_random
    from resenc_plans.runs.stored_cases import open_store

    store = open_store(config)
    held_out = "and the same" if fold == ALL else len(cases.val)
    say(
        f"Data: {store.folder}, {counted(len(cases.train), 'case')} to train on, {held_out} held "
        "out."
    )
    if is_random(config.plans.folder, fold):
        folds = count_folds(config.plans.folder)
        note(
            f"Fold {fold} is beyond the {counted(folds, 'fold')} of the split (0 to {folds - 1}), "
            "so its cases are drawn at random, 80:20, as nnU-Net does."
        )
    network = config.architecture.network_class_name.rpartition(".")[2]
    say(
        f"Network: {network}, patch {numbers(config.patch_size)}, batch {config.batch_size}; "
        f"{counted(settings.epochs, 'epoch')} of {counted(settings.iterations, 'iteration')}."
    )


def print_preview(
    config: "ResolvedConfiguration",
    dataset: "Dataset",
    fold: int | str,
    settings: "TrainingSettings",
    *,
    gpus: int,
    device: str | None,
    name: str | None,
    pretrained: Path | None,
    resume: bool,
    allow_differences: bool,
    allow_import: tuple[str, ...],
    allow_missing_cases: bool,
) -> None:
    """Print what would be trained, and where a training that is resumed goes on.

    Other settings than those of the model's other folds, a network that cannot be built or does not
    take its patch, and missing or damaged data are errors as in training.
    """
    from resenc_plans.cli.measurement import Network
    from resenc_plans.cli.pricing import price
    from resenc_plans.files import check_regular
    from resenc_plans.networks.check import check_network
    from resenc_plans.networks.device import find_device
    from resenc_plans.plans.checks.chosen import remarks_on
    from resenc_plans.plans.configuration import input_channels
    from resenc_plans.runs.beginning import changes_on_the_way, refuse_other_settings
    from resenc_plans.runs.folds import stored_fold
    from resenc_plans.runs.stages import previous_predictions
    from resenc_plans.runs.stored_cases import (
        check_stored_cases,
        open_store,
    )
    from resenc_plans.training.checkpointing import (
        RunIdentity,
        check_resumable,
        resuming,
        without_checkpoint,
    )
    from resenc_plans.training.defaults import batch_workers, default_run_folder
    from resenc_plans.training.own_parts import run_record
    from resenc_plans.training.step import default_optimizer
    from resenc_plans.training.trackers import chosen_trackers

    batch_workers(settings)
    chosen_trackers(settings)
    default_optimizer(settings)
    if pretrained is not None:
        check_regular(pretrained)
    folder = default_run_folder(config, dataset, fold, name)
    channels, heads = input_channels(config, dataset.labels), dataset.labels.num_heads
    checked = check_network(
        config,
        channels,
        heads,
        deep_supervision=settings.deep_supervision,
        allow_import=allow_import,
    )
    store = open_store(config)
    cases = stored_fold(
        config, dataset, store, fold, allow_missing_cases=allow_missing_cases, write=False
    )
    record = run_record(name, config, settings, find_device(device))
    if not allow_differences:
        refuse_other_settings(folder, record, cases)
    check_stored_cases(store, cases.all, config, dataset)
    previous_predictions(config, dataset, cases.all, name)
    done, resumed = 0, None
    checkpoint = folder.resumable() if resume else None
    if checkpoint is not None:
        run = RunIdentity(config, dataset, fold, settings)
        done, iteration = check_resumable(checkpoint, run)
        allowed = allow_differences or done >= settings.epochs
        changes_on_the_way(folder, record, cases, allow_differences=allowed)
        resumed = resuming(checkpoint, done, iteration, settings.epochs)
    elif resume:
        resumed = without_checkpoint(folder.path)
    for text in (*remarks_on(config, dataset), *cases.notes):
        note(text)
    print_task(config, fold, cases, settings)
    outputs = checked.outputs or ()
    say(
        f"Built without memory: {counted(channels, 'input channel')}, "
        f"{counted(heads, 'output head')}, {checked.parameters / 1e6:.1f} M parameters"
        + (f"; outputs {', '.join(map(numbers, outputs))}." if outputs else ".")
    )
    network = Network(config, channels, heads, dataset.labels.has_regions)
    try:
        cost = price(network, gpus, allow_import)
    except ResencPlansError as error:
        say(f"Cost: not estimated. {error}")
    else:
        left = max(0, settings.epochs - done)
        _print_cost(cost, left * settings.iterations / _STANDARD_ITERATIONS)
    say(f"Results: {folder.path}")
    if resumed is not None:
        say(resumed)


def _print_cost(cost: "Cost | TraceCost", share: float) -> None:
    """`share` is that of nnU-Net's 1000 epochs."""
    from resenc_plans.cost.estimate import Cost

    if isinstance(cost, Cost):
        memory = cost.gpu_memory_gb
        say(
            f"Cost: {memory.expected:.1f} GB of GPU memory ({memory.low:.1f}-{memory.high:.1f}), "
            f"calibrated to {cost.calibration.name}."
        )
        hours = None if cost.hours is None else (cost.hours.low * share, cost.hours.high * share)
        text = (
            None
            if hours is None
            else f"{rounded(hours[0], 2)} to {rounded(hours[1], 2)} hours on that GPU."
        )
    else:
        say(
            f"Cost: {cost.expected_gpu_memory_gb:.1f} GB of GPU memory, at least "
            f"{cost.peak_bytes / _GIB:.1f} GiB, by a trace: what a U-Net with as large tensors "
            "takes."
        )
        expected = cost.expected_hours
        text = (
            None if expected is None else f"about {rounded(expected * share, 2)} hours on an A100."
        )
    if text is None:
        text = "unknown; no measurements exist for several GPUs or for so small a step."
    say(f"Time: {text}")
