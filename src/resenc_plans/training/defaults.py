"""The parts of a training that nnU-Net would use: batches, loss, folder."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import cos, pi
from typing import Literal

import torch

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import TrainingError
from resenc_plans.execution.cpus import checked_workers, usable_cpus
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import (
    CrossEntropyLoss,
    DiceFocalLoss,
    DiceLoss,
    PolynomialSchedule,
    TrainingSettings,
)
from resenc_plans.runs.folds import FoldCases, stored_fold
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stages import previous_predictions
from resenc_plans.runs.stored_cases import check_stored_cases, open_store
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.shared_memory import batches_ahead
from resenc_plans.training.batches.source import Augmentation, PatchSource, Sampler
from resenc_plans.training.losses import (
    CrossEntropy,
    Dice,
    DiceBinaryCrossEntropy,
    DiceCrossEntropy,
    DiceFocal,
    DiceSums,
    Loss,
    label_sums,
    region_sums,
)
from resenc_plans.training.ranks import ALONE, Ranks, split_batch

logger = logging.getLogger(__name__)

Schedule = Callable[[int], float]
"""From the number of an epoch, counted from 0, to its learning rate."""

CPUS_PER_CHANNEL = 8
"""CPUs that augment a channel of the images as fast as a GPU trains. An estimate for preset M: half
a second of a CPU per batch and channel, and a step in 75 to 95 ms."""
MAX_WORKERS = 12
"""More processes than this make no more batches than one GPU takes."""


def default_run_folder(
    config: ResolvedConfiguration, dataset: Dataset, fold: int | str, name: str | None = None
) -> RunFolder:
    """`<results>/<dataset>/<name>__<plans>__<configuration>/fold_<fold>`.

    The name is nnUNetTrainer by default.
    """
    return ModelFolder.of(config, dataset, config.name, name).run(fold)


def default_loss(
    config: ResolvedConfiguration,
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
    *,
    regions: bool = False,
    ignore_label: int | None = None,
    compiled: bool = False,
    batch_size: int | None = None,
) -> Loss:
    """The loss of one scale that the settings name, for labels or regions.

    `compiled` is whether the sums of the Dice go through torch.compile, as nnU-Net's Dice does
    where the network is compiled: with many classes, that saves several copies of the logits.
    `batch_size` is that of all ranks together, None where it may differ from batch to batch.

    Raises
    ------
    TrainingError
        The loss is for labels, and there are regions.
    """
    chosen = settings.loss
    if isinstance(chosen, DiceFocalLoss):
        return DiceFocal(
            config.batch_dice,
            chosen.gamma,
            squared=chosen.squared_denominator,
            background=chosen.background,
            regions=regions,
            ignore_label=ignore_label,
            ranks=ranks,
            batch_size=batch_size,
        )
    if isinstance(chosen, CrossEntropyLoss):
        _refuse_regions(chosen.name, regions=regions)
        return CrossEntropy(
            ignore_label, ranks, batch_size, chosen.worst_share, chosen.label_smoothing
        )
    if isinstance(chosen, DiceLoss):
        return Dice(
            config.batch_dice,
            regions,
            ignore_label,
            ranks=ranks,
            batch_size=batch_size,
            sums=_compiled(region_sums if regions else label_sums, compiled=compiled),
            smooth=chosen.smooth,
        )
    squared, background = chosen.squared_denominator, chosen.background
    sums: DiceSums = (
        partial(region_sums, squared=squared)
        if regions
        else partial(label_sums, squared=squared, background=background)
    )
    sums = _compiled(sums, compiled=compiled)
    if chosen.worst_share < 1:
        _refuse_regions("worst_share", regions=regions)
    if regions:
        is_ignoring = ignore_label is not None
        return DiceBinaryCrossEntropy(
            config.batch_dice, is_ignoring, ranks, batch_size, sums, chosen.smooth
        )
    return DiceCrossEntropy(
        config.batch_dice,
        ignore_label,
        ranks=ranks,
        batch_size=batch_size,
        sums=sums,
        smooth=chosen.smooth,
        worst_share=chosen.worst_share,
    )


def _compiled(sums: DiceSums, *, compiled: bool) -> DiceSums:
    if not compiled:
        return sums
    # torch's compiler looks at the gradients of its inputs itself, and warns of that.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
    return torch.compile(sums)


def _refuse_regions(what: str, *, regions: bool) -> None:
    if regions:
        raise TrainingError(
            f"loss: {what} is for exclusive labels, but the dataset has regions. Use another loss "
            "or trainer, such as nnU-Net's own."
        )


def default_batches(
    config: ResolvedConfiguration,
    dataset: Dataset,
    fold: int | str,
    settings: TrainingSettings,
    ranks: Ranks,
    *,
    image_type: torch.dtype = torch.float32,
    sampler: Sampler | None = None,
    augmentation: Augmentation | None = None,
    name: str | None = None,
    cases: FoldCases | None = None,
) -> tuple[PatchBatches, PatchBatches]:
    """Training and validation batches of this rank, with images in `image_type`.

    A sampler or an augmentation is for training; the validation stays comparable. `name` is that of
    the model. `cases` are the fold's, by default all of them, which must be stored then. Where
    samples are augmented is as the settings say, or `where_to_augment` chooses.

    Raises
    ------
    FileError, DatasetError, PreprocessingError
        Stored cases are missing or damaged.
    ModelError
        Predictions of the previous stage are missing.
    WorkerError
        /dev/shm has too little room for the batches that workers make.
    """
    store = open_store(config)
    cases = cases or stored_fold(config, dataset, store, fold)
    check_stored_cases(store, cases.all, config, dataset)
    previous = previous_predictions(config, dataset, cases.all, name)
    share = split_batch(config.batch_size, ranks.world, settings.oversampled_foreground)[ranks.rank]
    workers = batch_workers(settings)
    training = PatchSource(
        store=store,
        config=config,
        labels=dataset.labels,
        cases=cases.train,
        share=share,
        purpose="training",
        seed=settings.seed,
        image_type=image_type,
        previous_stage=previous,
        augmentation_settings=settings.augmentation,
        foreground_chance=foreground_chance(settings, config.batch_size),
    )
    validation = replace(training, cases=cases.val, purpose="validation")
    training = replace(training, sampler=sampler, augmentation=augmentation)
    place = where_to_augment(settings, config, ranks.device, own=augmentation)
    augmenting = ranks.device if place == "device" else None
    copied_to = ranks.device if ranks.device.type == "cuda" else None
    loaders = (
        PatchBatches(training, workers, augmenting=augmenting, copied_to=copied_to),
        PatchBatches(validation, -(-workers // 3), copied_to=copied_to),
    )
    ahead = batches_ahead([loader.demand for loader in loaders], local_ranks())
    ranks.wait()  # no rank fills the memory that another still looks at
    first, second = (replace(part, ahead=n) for part, n in zip(loaders, ahead, strict=True))
    return first, second


def foreground_chance(settings: TrainingSettings, batch_size: int) -> float | None:
    """The probability that a sample shows foreground; None where the last of a batch do.

    >>> foreground_chance(TrainingSettings(foreground_samples="random_as_last"), 2)
    0.5
    """
    share = settings.oversampled_foreground
    if settings.foreground_samples == "last":
        return None
    if settings.foreground_samples == "random":
        return share
    [whole] = split_batch(batch_size, 1, share)
    return whole.foreground / batch_size


def batch_workers(settings: TrainingSettings) -> int:
    """The processes that make the training batches of one rank; 0: it makes them itself.

    Raises
    ------
    UsageError
        The settings ask for more than this machine can bear.
    """
    if settings.workers is None:
        return default_workers()
    return checked_workers(settings.workers) if settings.workers else 0


def where_to_augment(
    settings: TrainingSettings,
    config: ResolvedConfiguration,
    device: torch.device,
    *,
    own: Augmentation | None = None,
) -> Literal["cpu", "device"]:
    """Where the samples of a training are augmented; with "auto", as CPUs and channels decide.

    An augmentation of the caller's own stays on the CPU, and so does one that is not the standard
    set with linear interpolation.
    """
    if own is not None:
        if settings.augment_on == "device":
            logger.warning(
                "The augmentation is your own and takes one sample at a time: it stays on the CPU."
            )
        return "cpu"
    chosen = settings.augmentation
    if chosen.transforms != "standard" or chosen.nearest_labels or chosen.nearest_images:
        if settings.augment_on == "device":
            logger.warning(
                "Only the standard augmentation has a form for devices: it stays on the CPU."
            )
        return "cpu"
    if settings.augment_on != "auto":
        return settings.augment_on
    cpus = usable_cpus() / local_ranks()
    enough = cpus >= CPUS_PER_CHANNEL * len(config.use_mask_for_norm)
    return "device" if device.type == "cuda" and not enough else "cpu"


def default_schedule(settings: TrainingSettings) -> Schedule:
    """The schedule that the settings name."""
    schedule, rate, epochs = settings.schedule, settings.learning_rate, settings.epochs
    if isinstance(schedule, PolynomialSchedule):
        return polynomial(rate, epochs, schedule.exponent, warmup_epochs=schedule.warmup_epochs)
    return cosine(
        rate,
        epochs,
        warmup_epochs=schedule.warmup_epochs,
        warmup_start=schedule.warmup_start,
        floor=schedule.floor,
    )


def polynomial(
    highest: float, epochs: int, exponent: float = 0.9, *, warmup_epochs: int = 0
) -> Schedule:
    """nnU-Net's `PolyLRScheduler`; before it, with `warmup_epochs`, its `Lin_incr_LRScheduler`.

    >>> polynomial(0.01, 1000)(0)
    0.01
    >>> rate = polynomial(0.01, 1000, warmup_epochs=50)
    >>> [rate(epoch) for epoch in (0, 49, 50)]
    [0.0002, 0.01, 0.01]
    """

    def rate(epoch: int) -> float:
        if epoch < warmup_epochs:
            return highest * (epoch + 1) / warmup_epochs
        progress = (epoch - warmup_epochs) / (epochs - warmup_epochs)
        return float(highest * (1 - progress) ** exponent)

    return rate


def cosine(
    highest: float,
    epochs: int,
    *,
    warmup_epochs: int = 0,
    warmup_start: float = 0.0,
    floor: float = 0.0,
) -> Schedule:
    """Half a cosine from `highest` towards `floor` (Loshchilov and Hutter 2017), without restarts.

    Over the first `warmup_epochs` the rate rises linearly from the share `warmup_start` of
    `highest`. Without a floor it is MONAI's `WarmupCosineSchedule`.

    >>> rate = cosine(0.1, 11, warmup_epochs=1, warmup_start=0.1)
    >>> [round(rate(epoch), 4) for epoch in (0, 1, 6)]
    [0.01, 0.1, 0.05]
    """

    def rate(epoch: int) -> float:
        if epoch < warmup_epochs:
            return highest * (warmup_start + (1 - warmup_start) * epoch / warmup_epochs)
        progress = (epoch - warmup_epochs) / (epochs - warmup_epochs)
        return floor + (highest - floor) * (1 + cos(pi * progress)) / 2

    return rate


def default_workers() -> int:
    """Processes that make training batches, from the CPUs this process may use.

    One CPU of a rank's share is left to the network; under two none are started.
    """
    return max(0, min(MAX_WORKERS, usable_cpus() // local_ranks() - 1))


def local_ranks() -> int:
    """Ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
