"""`train_fold`: from a preprocessed dataset to a trained fold and the scores of held-out cases."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from resenc_plans.cost.estimate import estimate_cost
from resenc_plans.datasets.dataset import Dataset, expect_dataset
from resenc_plans.errors import (
    DeviceError,
    ResencPlansError,
    TrainingError,
    UsageError,
    expect_type,
)
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.networks.device import (
    failures_named,
    is_out_of_memory,
    release_memory,
    why_not_compiled,
)
from resenc_plans.plans.checks.chosen import remarks_on
from resenc_plans.plans.configuration import (
    ResolvedConfiguration,
    expect_resolved,
    input_channels,
)
from resenc_plans.plans.trained_configuration import trained_configuration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import card
from resenc_plans.runs.beginning import refuse_to_replace
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.checkpointing import (
    load_pretrained,
    resuming,
    without_checkpoint,
)
from resenc_plans.training.defaults import default_run_folder, where_to_augment
from resenc_plans.training.history import Progress, TrainingResult
from resenc_plans.training.own_parts import OwnParts, model_name
from resenc_plans.training.ranks import Ranks, device_of_rank, joined_ranks
from resenc_plans.training.trainer import Trainer
from resenc_plans.workflows.held_out import (
    HeldOutValidation,
    refuse_unpredictable,
    validate_together,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedFold:
    """What training a fold left."""

    folder: RunFolder
    training: TrainingResult
    validation: HeldOutValidation | None
    """None where it was omitted or the run was stopped, and in all processes but the first."""
    resumed_after: int = 0
    """Epochs that earlier runs had trained: where they are all, nothing was trained."""

    def __repr__(self) -> str:
        training, summary = self.training, self.validation and self.validation.evaluation.summary
        state = "complete" if training.is_complete else f"stopped, since {training.reason}"
        return card(
            f"TrainedFold {self.folder.fold}: {state}",
            {
                "folder": self.folder.path,
                "epochs": len(training.epochs),
                "checkpoint": training.checkpoint.name,
                "held-out Dice": summary and f"{summary.foreground_mean['Dice']:.4f}",
            },
        )


def train_fold(
    config: ResolvedConfiguration,
    dataset: Dataset,
    fold: int | str = 0,
    *,
    settings: TrainingSettings | None = None,
    device: str | None = None,
    name: str | None = None,
    run_folder: RunFolder | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_differences: bool = False,
    allow_missing_cases: bool = False,
    pretrained: Path | None = None,
    validation: bool = True,
    probabilities: bool = False,
    allow_import: tuple[str, ...] = (),
    on_begin: Callable[[Trainer], object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], object] = logger.info,
    ranks: Ranks | None = None,
    **parts: Unpack[OwnParts],
) -> TrainedFold:
    """Train one fold of a configuration, then predict and score its held-out cases.

    Under torchrun, this process is one of those that train together; each predicts a share of the
    held-out cases, and the first one scores them.

    Parameters
    ----------
    config
        The configuration; its stored cases lie beside its plans file.
    dataset
        Labels and channels of dataset.json.
    fold
        Number of the fold, or "all".
    settings
        Everything that the plans do not say.
    device
        "cpu", "cuda" or "mps"; None takes a GPU if there is one.
    name
        The first part of the name of the model's folder, instead of nnUNetTrainer, or of the
        trainer of nnU-Net that the settings name; required with `parts`.
    run_folder
        Where the results go; by default nnU-Net's folder, see `default_run_folder`.
    resume
        Whether to resume from the last checkpoint of this fold, if there is one.
    overwrite
        Whether to begin anew where the fold holds a checkpoint. What is there moves to `replaced`
        in the dataset's folder of results.
    allow_differences
        Whether the model's other folds, or this one so far, may have been trained with other
        settings or on other cases.
    allow_missing_cases
        Whether cases of the fold may be missing from the stored ones; they are left out, which is
        logged and recorded.
    pretrained
        A checkpoint whose weights to start from.
    validation
        Whether to predict and score the held-out cases when all epochs are done, and a checkpoint
        is written.
    probabilities
        Whether to keep the probabilities of the held-out cases, which ensembles need.
    allow_import
        Modules whose networks the plans may name (see `build_network`).
    on_begin
        Called by the first process with the trainer, before it starts.
    on_progress
        Called by the first process after each batch and each epoch.
    on_note
        Called by the first process with what a person should know of the start; by default it is
        logged.
    ranks
        The processes that train together, if the caller has joined them (`joined_ranks`).
    parts
        `network`, `loss`, `optimizer`, `sampler`, `augmentation` and `schedule` of your own, as
        `Trainer` takes them.

    Raises
    ------
    UsageError
        Arguments contradict each other or are of another kind, or `parts` have no name.
    TrainingError
        The fold holds a checkpoint that is neither resumed nor may be replaced, the model's other
        folds were trained with other settings, the checkpoint belongs to another run,
        torch.compile failed, or losses were not finite.
    DeviceError
        There is no such device, or its memory does not suffice.
    ResencPlansError
        As `Trainer` and `validate_held_out`.
    """
    expect_resolved(config)
    expect_dataset(dataset)
    if resume and pretrained is not None:
        raise UsageError("`resume=` and `pretrained=` contradict each other: give one.")
    if resume and overwrite:
        raise UsageError("`resume=` and `overwrite=` contradict each other: give one.")
    if probabilities and not validation:
        raise UsageError("`probabilities=` needs the validation, which was omitted.")
    settings = settings or TrainingSettings()
    expect_type(settings, TrainingSettings, "settings", "TrainingSettings(...)")
    settings = settings.over(config.training)
    config = trained_configuration(config, settings.trainer)
    name = model_name(name, settings, parts)
    if not (resume or overwrite):
        refuse_to_replace(run_folder or default_run_folder(config, dataset, fold, name))
    if validation:
        refuse_unpredictable(config, dataset)
    joining = joined_ranks(device_of_rank(device)) if ranks is None else nullcontext(ranks)
    with joining as ranks:
        with _explained(config, dataset, ranks, settings):
            trainer = Trainer(
                config,
                dataset,
                fold,
                settings,
                name=name,
                run_folder=run_folder,
                overwrite=overwrite,
                allow_differences=allow_differences,
                allow_missing_cases=allow_missing_cases,
                ranks=ranks,
                allow_import=allow_import,
                on_progress=on_progress,
                **parts,
            )
            if on_begin is not None and ranks.is_first:
                on_begin(trainer)
            notes = tuple(_load(trainer, config, dataset, resume=resume, pretrained=pretrained))
            if ranks.is_first:
                for text in notes:
                    on_note(text)
            resumed_after = len(trainer.epochs)
            result = trainer.fit()
        folder, settings, trained_on = trainer.folder, trainer.settings, trainer.device
        del trainer  # the network, gradients and momenta leave the device to the validation
        release_memory(trained_on)
        validated = None
        if validation and result.is_complete and settings.save_checkpoints:
            validated = validate_together(
                config,
                dataset,
                folder,
                prediction_settings(settings, str(trained_on), allow_import),
                ranks=ranks,
                name=name,
                network=parts.get("network"),
                probabilities=probabilities,
                allow_missing_cases=allow_missing_cases,
            )
    return TrainedFold(folder, result, validated, resumed_after)


def prediction_settings(
    settings: TrainingSettings, device: str | None, allow_import: tuple[str, ...]
) -> PredictionSettings:
    """Predict in the precision of the training."""
    return PredictionSettings(
        device=device,
        precision=None if settings.precision == "auto" else settings.precision,
        allow_tf32=settings.allow_tf32,
        allow_import=allow_import,
    )


def _load(
    trainer: Trainer,
    config: ResolvedConfiguration,
    dataset: Dataset,
    *,
    resume: bool,
    pretrained: Path | None,
) -> Iterator[str]:
    """Load what the training starts from; yields what a person should know of it."""
    yield from remarks_on(config, dataset)
    if trainer.outputs_note:
        yield trainer.outputs_note
    has_checkpoint, ranks = bool(trainer.folder.checkpoints()), trainer.ranks
    if resume:
        [seen] = ranks.total([float(has_checkpoint)])
        if 0 < seen < ranks.world:
            raise TrainingError(
                f"{trainer.folder.path}: only {seen:.0f} of {ranks.world} processes see a "
                "checkpoint there. All machines have to share the folder of results."
            )
        if not has_checkpoint:
            yield without_checkpoint(trainer.folder.path)
        else:
            path = trainer.resume()
            done, epochs = len(trainer.epochs), trainer.settings.epochs
            yield resuming(path, done, trainer.iteration, epochs)
    elif has_checkpoint:
        yield f"The earlier run of {trainer.folder.path} moves to {trainer.folder.replaced}."
    if pretrained is not None:
        name = trainer.run.config.architecture.network_class_name
        skipped = load_pretrained(trainer.network, pretrained, name)
        if skipped:
            yield (
                "Left as initialised, since the checkpoint's are of another shape or missing: "
                f"{', '.join(skipped)}."
            )


@contextmanager
def _explained(
    config: ResolvedConfiguration, dataset: Dataset, ranks: Ranks, settings: TrainingSettings
) -> Iterator[None]:
    """Raise faults of torch that a person can do something about as errors that say what."""
    try:
        with failures_named(ranks.device, "The last checkpoint is good: train on (`resume=`)."):
            yield
    except Exception as error:
        if is_out_of_memory(error):
            text = _out_of_memory(config, dataset, ranks.world)
            if where_to_augment(settings, config, ranks.device) == "device":
                text += " To augment on the CPU (`augment_on=`) takes less of it, too."
            raise DeviceError(text) from error
        reason = why_not_compiled(error)
        if reason is not None:
            raise TrainingError(
                f'torch.compile failed: {reason}. {{"compile": false}} in the settings trains '
                "without it."
            ) from error
        raise


def _out_of_memory(config: ResolvedConfiguration, dataset: Dataset, world: int) -> str:
    text = f"{config.name}: the device's memory does not suffice."
    channels, heads = input_channels(config, dataset.labels), dataset.labels.num_heads
    try:
        memory = estimate_cost(config, channels, heads, gpus=world).gpu_memory_gb
        text += f" Expected are {memory.expected:.1f} GB ({memory.low:.1f}-{memory.high:.1f})."
    except ResencPlansError:
        pass
    smaller = max(world, config.batch_size // 2)
    patch = "x".join(map(str, config.patch_size))
    if smaller == config.batch_size:
        return f"{text} Derive a configuration with a patch smaller than {patch}."
    return (
        f"{text} Derive a configuration with a smaller batch, such as {smaller} (patch {patch} "
        "stays)."
    )
