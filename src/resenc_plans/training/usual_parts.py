"""The parts of a training that nnU-Net would use: batches, loss, where things lie."""

import os
from dataclasses import replace
from pathlib import Path

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import DatasetError, FileError
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.folders import model_folder, results_folder
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing.store.case_store import PROPERTIES, CaseStore
from resenc_plans.preprocessing.store.manifest import stale_cases
from resenc_plans.runs.folds import fold_cases
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.runs.stages import missing_predictions
from resenc_plans.training.batch_split import split_batch
from resenc_plans.training.batches.batches import Augmentation, PatchBatches, Sampler
from resenc_plans.training.batches.patch_geometry import deep_supervision_scales
from resenc_plans.training.losses import DiceBinaryCrossEntropy, DiceCrossEntropy, Loss
from resenc_plans.training.ranks import Ranks

MOST_WORKERS = 12
"""More processes than this make no more batches than one GPU takes."""


def preprocessed_folder(config: ResolvedConfiguration) -> Path:
    """The folder of the configuration's plans file, where the stored cases lie too.

    Raises
    ------
    PlansError
        The plans were never saved.
    """
    return config.plans.folder


def open_store(config: ResolvedConfiguration) -> CaseStore:
    """The stored cases of a configuration.

    Raises
    ------
    FileError
        They are not there; the message says which command makes them.
    """
    return CaseStore(preprocessed_folder(config) / config.data_identifier)


def usual_run_folder(config: ResolvedConfiguration, dataset: Dataset, fold: int | str) -> RunFolder:
    """`<nnUNet_results>/<dataset>/nnUNetTrainer__<plans>__<configuration>/fold_<fold>`.

    Where nnUNet_results is not set, results go to a folder of that name beside the plans.
    """
    return RunFolder(_model_folder(config, dataset, config.name), fold)


def usual_loss(config: ResolvedConfiguration, labels: Labels, ranks: Ranks) -> Loss:
    """Dice with cross-entropy, binary where there are regions."""
    if labels.has_regions:
        return DiceBinaryCrossEntropy(config.batch_dice, labels.ignore_label is not None, ranks)
    return DiceCrossEntropy(config.batch_dice, labels.ignore_label, ranks)


def input_channels(config: ResolvedConfiguration, labels: Labels) -> int:
    """Channels of the image and, in a cascade, of the previous stage's one-hot labels."""
    previous = len(labels.foreground_labels) if config.previous_stage is not None else 0
    return len(config.normalization_schemes) + previous


def usual_batches(
    config: ResolvedConfiguration,
    dataset: Dataset,
    fold: int | str,
    settings: TrainingSettings,
    ranks: Ranks,
    sampler: Sampler | None = None,
    augmentation: Augmentation | None = None,
) -> tuple[PatchBatches, PatchBatches]:
    """Training and validation batches of this rank.

    A sampler or an augmentation is for training; the validation stays comparable.

    Raises
    ------
    FileError, DatasetError
        Stored cases or predictions of the previous stage are missing or damaged.
    """
    store = open_store(config)
    split = fold_cases(preprocessed_folder(config), store, fold)
    check_stored_cases(store, (*split.train, *split.val), config, dataset)
    previous = previous_predictions(config, dataset, (*split.train, *split.val))
    share = split_batch(config.batch_size, ranks.world, settings.oversampled_foreground)[ranks.rank]
    scales = None
    strides = getattr(config.architecture.arch_kwargs, "strides", None)
    if settings.deep_supervision and strides is not None:
        scales = deep_supervision_scales(strides)
    workers = default_workers() if settings.workers is None else settings.workers
    training = PatchBatches(
        store=store,
        config=config,
        labels=dataset.labels,
        cases=split.train,
        share=share,
        purpose="training",
        scales=scales,
        seed=settings.seed,
        workers=workers,
        previous_stage=previous,
        pin_memory=ranks.device.type == "cuda",
    )
    validation = replace(training, cases=split.val, purpose="validation", workers=-(-workers // 3))
    training = replace(training, sampler=sampler, augmentation=augmentation)
    return training, validation


def check_stored_cases(
    store: CaseStore, cases: tuple[str, ...], config: ResolvedConfiguration, dataset: Dataset
) -> None:
    """Look at every case, so that a damaged or stale one is found before the first batch.

    Of the properties only the ends are read: class locations can be many megabytes. Whether a case
    is stale is known of those that we have stored, not of nnU-Net's.

    Raises
    ------
    FileError
        A file is missing or damaged.
    DatasetError
        A case was preprocessed by other plans or labels, has other channels than the plans, or
        image and labels differ in shape.
    """
    stale = stale_cases(store.folder, cases, config, config.plans, dataset.json)
    if stale:
        raise DatasetError(
            f"{store.folder}: {len(stale)} of {len(cases)} cases were preprocessed before spacing, "
            f"normalisation, resampling or labels of {config.name} were what they are now "
            f"({', '.join(stale[:3])}{' …' if stale[3:] else ''}). Run: resenc-plans preprocess "
            f"-c {config.name}."
        )
    channels = len(config.normalization_schemes)
    for case in cases:
        image, labels = store.arrays(case)
        if image.shape[0] != channels or image.shape[1:] != labels.shape[1:]:
            raise DatasetError(
                f"{store.folder}: {case} has an image of shape {tuple(image.shape)} and labels of "
                f"{tuple(labels.shape)}; {channels} channels are expected. Preprocess it again: "
                "resenc-plans preprocess --force."
            )
        _check_pickle(store.folder / (case + PROPERTIES))


def _check_pickle(path: Path) -> None:
    """A pickle begins with PROTO and ends with STOP."""
    try:
        with path.open("rb") as stream:
            first = stream.read(1)
            stream.seek(max(0, path.stat().st_size - 1))
            last = stream.read(1)
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}). Preprocess the case again."
        ) from None
    if (first, last) != (b"\x80", b"."):
        raise FileError(f"{path}: is damaged. Preprocess the case again.")


def previous_predictions(
    config: ResolvedConfiguration, dataset: Dataset, cases: tuple[str, ...]
) -> Path | None:
    """Where the previous stage of a cascade has put its segmentations, None without one.

    Raises
    ------
    DatasetError
        Some are missing; the message says how they are made.
    """
    if config.previous_stage is None:
        return None
    model = _model_folder(config, dataset, config.previous_stage)
    folder = model / "predicted_next_stage" / config.name
    missing = missing_predictions(folder, cases)
    if missing:
        raise DatasetError(
            f"{folder}: {len(missing)} of {len(cases)} cases have no prediction of "
            f"{config.previous_stage} ({', '.join(missing[:3])}{' …' if missing[3:] else ''}). "
            f"Train {config.previous_stage} for all folds first; its final validation makes them."
        )
    return folder


def default_workers() -> int:
    """Processes that make training batches, from the CPUs this process may use.

    One CPU of a rank's share is left to the network; under two none are started.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(MOST_WORKERS, usable_cpus() // local - 1))


def _model_folder(config: ResolvedConfiguration, dataset: Dataset, configuration: str) -> Path:
    results = results_folder(preprocessed_folder(config))
    name = config.plans.document.dataset_name or dataset.name
    return model_folder(results, name, config.plans.name, configuration)
