"""`Trainer`: trains a configuration as nnU-Net 2.8.1 does, and can be stopped at any moment.

The story is `fit` -> `_train_epoch` -> `TrainingStep`. What may be replaced by the caller: network,
loss, optimizer, sampler, augmentation, batches, schedule.
"""

import logging
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from resenc_plans.datasets.dataset import Dataset, expect_dataset
from resenc_plans.errors import (
    TrainingError,
    expect_type,
)
from resenc_plans.execution.signals import StopRequest
from resenc_plans.folders import (
    BEST_CHECKPOINT,
    FINAL_CHECKPOINT,
    LATEST_CHECKPOINT,
    TRAINER_NAME,
)
from resenc_plans.networks.build import build_network
from resenc_plans.networks.cudnn import slow_convolutions
from resenc_plans.plans.architectures import OtherArchitecture
from resenc_plans.plans.configuration import (
    ResolvedConfiguration,
    expect_resolved,
    input_channels,
)
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.trained_configuration import trained_configuration
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.reprs import card
from resenc_plans.runs.beginning import (
    refuse_other_settings,
)
from resenc_plans.runs.checkpoint import Checkpoint
from resenc_plans.runs.folds import FoldCases, stored_fold
from resenc_plans.runs.run_folder import Checkpoints, RunFolder
from resenc_plans.runs.run_record import RunRecord
from resenc_plans.runs.stored_cases import open_store
from resenc_plans.training.batches.batches import PatchBatches
from resenc_plans.training.batches.generators import seed_step
from resenc_plans.training.batches.noise import NoiseBatches
from resenc_plans.training.batches.shared_memory import batches_ahead
from resenc_plans.training.batches.source import Augmentation, Batch, Batches, Purpose, Sampler
from resenc_plans.training.checkpointing import (
    RunIdentity,
    TrainingState,
    checkpoint_of,
    load_state,
)
from resenc_plans.training.defaults import (
    Schedule,
    default_batches,
    default_loss,
    default_run_folder,
    default_schedule,
    local_ranks,
    where_to_augment,
)
from resenc_plans.training.history import Epoch, Progress, TrainingResult, smoothed
from resenc_plans.training.losses import Loss
from resenc_plans.training.outputs import check_outputs
from resenc_plans.training.own_parts import run_record
from resenc_plans.training.pseudo_dice import count_overlap, dice_of
from resenc_plans.training.ranks import OTHER_RANK_STOPS, Ranks, alone
from resenc_plans.training.reading import Reading
from resenc_plans.training.run_files import RunFiles
from resenc_plans.training.step import (
    BadBatches,
    LaunchedStep,
    OptimizerFactory,
    TrainingStep,
    image_type,
    is_compiled,
    training_precision,
)
from resenc_plans.training.trackers import chosen_trackers

logger = logging.getLogger(__name__)

Validation = tuple[float, tuple[float, ...]]
"""Loss, and pseudo Dice per class."""


class Trainer:
    """Trains one fold of a configuration.

    Parameters
    ----------
    config
        The configuration; its stored cases lie beside its plans file.
    dataset
        Labels and channels of dataset.json; the images themselves are not needed.
    fold
        Number of the fold, or "all".
    settings
        How to train. What they leave out is taken from `config.training`, then nnU-Net's.
    device
        "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.
    run_folder
        Where the results go; by default nnU-Net's folder, see `default_run_folder`.
    ranks
        Instead of `device`: the device, and the place of this process among those that train
        together (see `joined_ranks`).
    name
        The first part of the name of the model's folder, instead of nnUNetTrainer, or of the
        trainer of nnU-Net that the settings name. It is required with a network, loss, optimizer,
        sampler, augmentation or schedule of your own, so that the results are not taken for
        nnU-Net's.
    overwrite
        Whether to begin anew where the fold holds a checkpoint. What is there moves to `replaced`
        in the dataset's folder of results.
    allow_differences
        Whether the model's other folds may have been trained with other settings, and this one
        too, before it is resumed: with other settings, or on other cases. The record says so.
    allow_missing_cases
        Whether cases of the fold may be missing from the stored ones; they are left out, which is
        logged and recorded.
    network, loss, sampler, augmentation, schedule
        Replace those of the plans and of nnU-Net. `loss` is that of one scale.
    optimizer
        Makes the optimizer from the network's parameters, such as
        `partial(torch.optim.AdamW, weight_decay=0.01)`. The schedule sets the learning rate of all
        its groups of parameters before each epoch.
    training_batches, validation_batches
        Replace patches of the stored cases.
    allow_import
        Modules whose networks the plans may name (see `build_network`).
    on_progress
        Called after each batch and each epoch, by the first rank. Without it, what a person should
        know of a run, such as a checkpoint that could not be written, is a Python warning.

    Raises
    ------
    UsageError
        Parts are your own, and there is no name, or it is nnU-Net's; or `config`, `dataset` or
        `settings` is of another kind.
    TrainingError
        The model's other folds were trained with other settings, or without cases that this one
        uses; the loss is for another number of processes; or the settings ask for a tracker, such
        as TensorBoard, that is not installed.
    DeviceError
        There is no such device, or it cannot train in this precision.
    ConfigurationError, NetworkError
        The network is unknown or cannot be built.
    PreprocessingError, FileError, DatasetError, ModelError
        Stored cases, or predictions of a cascade's previous stage, are missing or damaged.
    """

    def __init__(
        self,
        config: ResolvedConfiguration,
        dataset: Dataset,
        fold: int | str = 0,
        settings: TrainingSettings | None = None,
        *,
        device: str | torch.device | None = None,
        run_folder: RunFolder | None = None,
        name: str | None = None,
        overwrite: bool = False,
        allow_differences: bool = False,
        allow_missing_cases: bool = False,
        ranks: Ranks | None = None,
        network: nn.Module | None = None,
        loss: Loss | None = None,
        optimizer: OptimizerFactory | None = None,
        sampler: Sampler | None = None,
        augmentation: Augmentation | None = None,
        training_batches: Batches | None = None,
        validation_batches: Batches | None = None,
        schedule: Schedule | None = None,
        allow_import: tuple[str, ...] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        expect_resolved(config)
        expect_dataset(dataset)
        settings = settings or TrainingSettings()
        expect_type(settings, TrainingSettings, "settings", "TrainingSettings(...)")
        settings = settings.over(config.training)
        config = trained_configuration(config, settings.trainer)
        parts = {
            part: own
            for part, own in (
                ("network", network),
                ("loss", loss),
                ("optimizer", optimizer),
                ("sampler", sampler),
                ("augmentation", augmentation),
                ("schedule", schedule),
            )
            if own is not None
        }
        self.ranks = ranks = ranks or alone(device)
        self.device = ranks.device
        self._may_augment_elsewhere = settings.augment_on == "auto" and augmentation is None
        place = where_to_augment(settings, config, self.device, own=augmentation)
        settings = settings.model_copy(update={"augment_on": place})
        self.record = run_record(name, config, settings, self.device, parts)
        name = self.record.name
        trainer_name = (settings.trainer or TRAINER_NAME) if network is None else name
        self.run = RunIdentity(config, dataset, fold, settings, trainer_name)
        self.settings = settings
        self.precision = training_precision(settings, self.device)
        self.folder = run_folder or default_run_folder(config, dataset, fold, name)
        self.overwrite = overwrite
        self.allow_differences = allow_differences
        self.cases: FoldCases | None = None
        """Those of the fold; None where the caller makes all batches."""
        if training_batches is None or validation_batches is None:
            self.cases = stored_fold(
                config,
                dataset,
                open_store(config),
                fold,
                allow_missing_cases=allow_missing_cases,
                write=ranks.is_first,
            )
        if ranks.is_first:
            chosen_trackers(
                settings
            )  # what is missing is to be known before an earlier run is moved
        if not allow_differences:
            refuse_other_settings(self.folder, self.record, self.cases)
        self.on_progress = on_progress
        torch.manual_seed(settings.seed)
        is_own = network is not None
        network = network or build_network(
            config,
            input_channels(config, dataset.labels),
            dataset.labels.num_heads,
            settings.deep_supervision,
            allow_import=allow_import,
        )
        self.step = TrainingStep.of(
            network,
            loss
            or default_loss(
                config,
                settings,
                ranks,
                regions=dataset.labels.has_regions,
                ignore_label=dataset.labels.ignore_label,
                compiled=is_compiled(settings, self.device),
                batch_size=config.batch_size if training_batches is None else None,
            ),
            settings,
            ranks,
            dim=config.dim,
            scale_weights=None if is_own else resolutions_of(config).weights,
            has_unused_parameters=is_own or isinstance(config.architecture, OtherArchitecture),
            optimizer=optimizer,
        )
        self.outputs_note = check_outputs(
            self.step,
            config,
            dataset.labels,
            deep_supervision=settings.deep_supervision,
            is_own=is_own,
        )
        """At which sizes the network was found to have outputs, where nothing is known of it."""
        if self.outputs_note:
            logger.info(self.outputs_note)
        self.schedule = schedule or default_schedule(settings)
        if training_batches is None or validation_batches is None:
            training, validation = default_batches(
                config,
                dataset,
                fold,
                settings,
                ranks,
                image_type=torch.float32 if is_own else image_type(config, settings, self.device),
                sampler=sampler,
                augmentation=augmentation,
                name=name,
                cases=self.cases,
            )
            if settings.noise:
                noise = NoiseBatches.like(training.source, self.device)
                training_batches, validation_batches = noise, noise
            training_batches = training_batches or training
            validation_batches = validation_batches or validation
        self.training_batches, self.validation_batches = training_batches, validation_batches
        self.epochs: tuple[Epoch, ...] = ()
        self.iteration = 0
        self.epoch_losses: tuple[float, ...] = ()
        self.epoch_begun = 0.0
        self.best: float | None = None
        self._best_before: float | None = None
        """Which returns if the checkpoint of the best epoch is not written."""
        self._launched: deque[LaunchedStep] = deque()
        """Steps that the device has been given, and of which nothing has been told yet."""
        self._seen: Checkpoints | None = None
        """The checkpoints of the folder when one of them was loaded."""
        self._saved_as: Path | None = None
        """The checkpoint that holds the state, from which nothing was trained since."""
        self._waited = 0.0
        self._bad_batches = BadBatches(ranks)

    def __repr__(self) -> str:
        return card(
            f"Trainer of {self.run.config.name}, fold {self.run.fold}",
            {
                "plans": self.run.config.plans.name,
                "dataset": self.run.dataset.name,
                "network": type(self.network).__name__,
                "device": f"{self.device}, {self.record.precision}",
                "epochs": f"{len(self.epochs)} of {self.settings.epochs} done",
                "folder": self.folder.path,
            },
        )

    @property
    def network(self) -> nn.Module:
        """The network that is trained; `fit` moves it to the device."""
        return self.step.network

    def resume(self, checkpoint: Path | None = None) -> Path:
        """Load a checkpoint of this configuration and fold, ours or nnU-Net's, to resume from it.

        Raises
        ------
        TrainingError
            There is none, or it belongs to another configuration or fold.
        ModelError
            It is damaged.
        """
        seen = self.folder.checkpoints()
        path = checkpoint or self.folder.resumable()
        if path is None:
            raise TrainingError(f"{self.folder.path}: has no checkpoint to resume from.")
        state = load_state(path, self.run, self.step)
        self._saved_as = path.resolve()
        self._seen = seen if self._saved_as.parent == self.folder.path.resolve() else None
        self._augment_as_before(path.parent)
        self.epochs, self.best = state.epochs, state.best
        self.iteration, self.epoch_losses = state.iteration, state.epoch_losses
        self.epoch_begun = time.time() - state.epoch_seconds
        return path

    def _augment_as_before(self, run: Path) -> None:
        """Augment where a run has done so far, unless the caller or the augmentation says where."""
        before, training = RunRecord.load(run), self.training_batches
        if before is None or not self._may_augment_elsewhere:
            return
        if not isinstance(training, PatchBatches):
            return
        place = before.settings.get("augment_on", "cpu")
        as_before = self.settings.model_copy(update={"augment_on": place})
        place = where_to_augment(as_before, self.run.config, self.device)
        if place == self.settings.augment_on:
            return
        self.settings = self.settings.model_copy(update={"augment_on": place})
        self.record = self.record.model_copy(update={"settings": self.settings.model_dump()})
        self.run = replace(self.run, settings=self.settings)
        training = replace(training, augmenting=self.device if place == "device" else None)
        validation = self.validation_batches
        loaders = [part for part in (training, validation) if isinstance(part, PatchBatches)]
        ahead = batches_ahead([loader.demand for loader in loaders], local_ranks())
        self.training_batches = replace(training, ahead=ahead[0])
        if isinstance(validation, PatchBatches):
            self.validation_batches = replace(validation, ahead=ahead[1])

    def fit(self) -> TrainingResult:
        """Train until all epochs are done, or until something asks to stop.

        SIGTERM, SIGUSR1, Ctrl-C and the time budget end a run after the batch that is being worked
        on, of training or validation, with a checkpoint.

        An earlier run in the folder that this one does not resume moves aside if `overwrite` is
        set; without a checkpoint, it does so in any case.

        Raises
        ------
        TrainingError
            The folder holds a checkpoint that is neither resumed nor may be replaced, was trained
            otherwise so far, or by another process since its checkpoint was loaded; or losses or
            gradients were not finite several times in a row.
        LockedError
            Another process trains or validates this fold.
        FileError
            The folder of the run cannot be written to, or the checkpoint that ends a run; or a
            stored case is damaged.
        """
        with self.folder.locked() if self.ranks.is_first else nullcontext():
            return self._fit()

    def _fit(self) -> TrainingResult:
        files = RunFiles(self.folder, self.run, self.record, self.cases, self.ranks, self._note)
        files.begin(
            len(self.epochs),
            self._facts(),
            resumes=self._seen,
            overwrite=self.overwrite,
            allow_differences=self.allow_differences,
        )
        is_resumed = bool(self.epochs) or self.iteration > 0
        budget = self.settings.max_minutes
        with closing(files), StopRequest(budget) as stop, files.writing():
            if len(self.epochs) < self.settings.epochs:
                # Their processes start first: none is forked from one that uses a GPU.
                training = self.training_batches.stream(self._batches_done())
                validation = self.validation_batches.stream(self._validations_done())
                self.ranks.take_device()
                self.step.to_device()
                self._warn_of_slow_convolutions()
            files.measure(len(self.epochs), resumed=is_resumed)
            while len(self.epochs) < self.settings.epochs:
                reason = self._train_epoch(training, stop, files)
                self._settle(files)
                validated = reason or self._validate(validation, stop)
                if isinstance(validated, str):
                    return self._end(validated, files)
                self._finish_epoch(validated)
                files.add_epoch(self.epochs, self._waited)
                self._save_epoch(files)
                files.add_cost(len(self.epochs))
            return self._end(None, files)

    def _train_epoch(
        self, batches: Iterator[Batch], stop: StopRequest, files: RunFiles
    ) -> str | None:
        """The rest of the current epoch; why it was left, None where it is done."""
        self._saved_as = None
        self.step.train()
        self.step.set_learning_rate(self.schedule(len(self.epochs)))
        if self.iteration == 0:
            self.epoch_begun = time.time()
        waited, begun = 0.0, time.perf_counter()
        waits, last = deque[float](), None
        late = int(self.step.is_read_late)
        end, is_stopped = self.settings.iterations, False
        while self.iteration < end:
            self._seed_step("training", self._batches_done())
            requested = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - requested)
            stops = stop.reason is not None
            self._launched.append(self.step.launch(batch, stops=stops))
            self.iteration += 1
            # All ranks count the same steps at the same time, since they may have to exchange
            # names of cases then, and end after the same batch.
            while len(self._launched) > (late if self.iteration < end else 0):
                launched = self._launched.popleft()
                is_last = launched.report.is_stopped
                # A host that waits beside a GPU that works holds nothing up.
                waited += min(waits.popleft(), launched.idle_since(last))
                last, self._waited = launched, waited / (time.perf_counter() - begun)
                self._count(launched)
                if is_last:
                    end, is_stopped = self.iteration, True
            if not is_stopped and files.is_checkpoint_due:
                self._save(LATEST_CHECKPOINT, files)
        return (stop.reason or OTHER_RANK_STOPS) if is_stopped else None

    def _count(self, launched: LaunchedStep) -> None:
        """Take note of what a step has found."""
        loss = launched.report.mean_loss
        self._bad_batches.count(launched, scaler=self.step.scaler, epoch=len(self.epochs))
        self.epoch_losses += (loss,)
        self._tell(loss)

    def _validate(self, batches: Iterator[Batch], stop: StopRequest) -> Validation | str:
        """Loss and pseudo Dice per class, over all ranks; or why to stop.

        A run that is stopped here repeats the validation of the epoch when it resumes.
        """
        self.step.eval()
        losses, overlap = [], None
        with torch.no_grad():
            for number in range(1, self.settings.validation_iterations + 1):
                self._seed_step("validation", self._validations_done() + number - 1)
                batch = next(batches)
                outcome = self.step.evaluate(batch, stops=stop.reason is not None)
                logits, target = outcome.logits[0].float(), outcome.targets[0]
                voxels = count_overlap(logits, target, self.run.dataset.labels)
                overlap = voxels if overlap is None else overlap + voxels
                reading = Reading.begin([outcome.loss.own, outcome.loss.stopping])
                own_loss, stopping = reading.numbers()
                losses.append(own_loss)
                self._tell(own_loss, validated=number)
                if stopping:
                    return stop.reason or OTHER_RANK_STOPS
        assert overlap is not None
        counts = torch.cat([overlap.tp, overlap.fp, overlap.fn]).tolist()
        *summed, loss_sum = self.ranks.total([*counts, fmean(losses)])
        classes = len(summed) // 3
        tp, fp, fn = (summed[start * classes : (start + 1) * classes] for start in range(3))
        return loss_sum / self.ranks.world, dice_of(tp, fp, fn)

    def _finish_epoch(self, validation: Validation) -> None:
        previous = self.epochs[-1].smoothed_dice if self.epochs else None
        epoch = Epoch(
            training_loss=fmean(self.epoch_losses),
            validation_loss=validation[0],
            dice=validation[1],
            smoothed_dice=math.nan,
            learning_rate=self.step.learning_rate,
            begun=self.epoch_begun,
            ended=time.time(),
        )
        epoch = replace(epoch, smoothed_dice=smoothed(previous, epoch.mean_dice))
        self.epochs += (epoch,)
        self.iteration, self.epoch_losses = 0, ()

    def _save_epoch(self, files: RunFiles) -> None:
        epoch = self.epochs[-1]
        is_best = self.best is None or math.isnan(self.best) or epoch.smoothed_dice > self.best
        if is_best:
            self._best_before, self.best = self.best, epoch.smoothed_dice
            self._save(BEST_CHECKPOINT, files)
        is_last = len(self.epochs) == self.settings.epochs
        if not is_last and len(self.epochs) % self.settings.checkpoint_epochs == 0:
            self._save(LATEST_CHECKPOINT, files)
        self._tell(epoch.training_loss, finished=epoch)

    def _batches_done(self) -> int:
        return len(self.epochs) * self.settings.iterations + self.iteration

    def _validations_done(self) -> int:
        return len(self.epochs) * self.settings.validation_iterations

    def _seed_step(self, purpose: Purpose, number: int) -> None:
        seed_step(
            self.settings.seed, purpose, number, rank=self.ranks.rank, device=self.step.device
        )

    def _save(self, name: str, files: RunFiles) -> None:
        """Begin to write a checkpoint, when the one before is written."""
        self._settle(files)
        files.save(name, self._checkpoint)

    def _checkpoint(self) -> Checkpoint:
        losses = (*self.epoch_losses, *(step.report.mean_loss for step in self._launched))
        worked = time.time() - self.epoch_begun if self.iteration else 0.0
        state = TrainingState(self.epochs, self.best, self.iteration, losses, worked)
        return checkpoint_of(state, self.run, self.step)

    def _settle(self, files: RunFiles) -> None:
        """Wait for the last checkpoint; if it could not be written, the old one stays."""
        if files.settle() == BEST_CHECKPOINT:
            self.best = self._best_before

    def _end(self, reason: str | None, files: RunFiles) -> TrainingResult:
        name = FINAL_CHECKPOINT if reason is None else LATEST_CHECKPOINT
        path = self.folder.checkpoint(name)
        self._settle(files)
        if self._saved_as != path.resolve():
            self._save(name, files)
        files.end(self.epochs, is_complete=reason is None)
        return TrainingResult(reason is None, reason, path, self.epochs)

    def _tell(
        self,
        loss: float,
        *,
        validated: int | None = None,
        finished: Epoch | None = None,
        note: str | None = None,
    ) -> None:
        if self.on_progress is None or not self.ranks.is_first:
            return
        settings, is_training = self.settings, validated is None
        self.on_progress(
            Progress(
                epoch=len(self.epochs) - (finished is not None),
                iteration=self.iteration - len(self._launched) if is_training else validated or 0,
                iterations=settings.iterations if is_training else settings.validation_iterations,
                is_training=is_training,
                loss=loss,
                learning_rate=self.step.learning_rate,
                finished=finished,
                waited=self._waited,
                note=note,
            )
        )

    def _note(self, text: str) -> None:
        if self.on_progress is None:
            warnings.warn(text, stacklevel=2)
        self._tell(math.nan, note=text)

    def _warn_of_slow_convolutions(self) -> None:
        if self.device.type == "cuda" and self.ranks.is_first:
            cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
            text = slow_convolutions(torch.__version__, cudnn)
            if text is not None:
                self._note(text)

    def _facts(self) -> dict[str, Any]:
        """What debug.json says of the training."""
        return {
            "device": self.device,
            "precision": self.precision or torch.float32,
            "compiled": is_compiled(self.settings, self.device),
            "world": self.ranks.world,
            "torch": torch.__version__,
            "settings": self.settings.model_dump_json(),
            "network": type(self.network).__name__,
        }
