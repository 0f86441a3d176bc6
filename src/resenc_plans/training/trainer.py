"""`Trainer`: trains a configuration as nnU-Net 2.8.1 does, and can be stopped at any moment.

The story is `fit` -> `_train_epoch` -> `_train_step`. What may be replaced by the caller: network,
loss, sampler, augmentation, batches, schedule.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.execution.signals import StopRequest
from resenc_plans.folders import BEST_CHECKPOINT, FINAL_CHECKPOINT, LATEST_CHECKPOINT
from resenc_plans.networks.build import build_network
from resenc_plans.networks.device import find_precision, try_all_kernels
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.resolutions import loss_weights
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.bad_batches import BadBatches
from resenc_plans.training.batches.batches import Augmentation, Batch, Batches, Sampler
from resenc_plans.training.defaults import (
    default_batches,
    default_loss,
    default_run_folder,
)
from resenc_plans.training.history import Epoch, smoothed
from resenc_plans.training.losses import (
    LOWEST_WEIGHT_OF_RANKS,
    DeepSupervision,
    Loss,
)
from resenc_plans.training.optimizer import MomentumSGD
from resenc_plans.training.progress import Progress, TrainingResult
from resenc_plans.training.pseudo_dice import count_overlap, dice_of
from resenc_plans.training.ranks import Ranks, alone, reason_to_stop
from resenc_plans.training.records import Records, open_records
from resenc_plans.training.schedule import Schedule, polynomial
from resenc_plans.training.training_state import TrainingState, load_state, save_state

Validation = tuple[float, tuple[float, ...]]
"""Loss, and pseudo Dice per class."""


class Trainer:
    """Trains one fold of a configuration.

    Parameters
    ----------
    config
        The configuration; the stored cases are looked for beside its plans file.
    dataset
        What dataset.json says; the images themselves are not needed.
    fold
        Number of the fold, or "all".
    settings
        All that the plans do not say.
    device
        "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.
    run_folder
        Where the results go; by default as nnU-Net has it, see `default_run_folder`.
    ranks
        Instead of `device`: the device, and where this process stands among those that train
        together (see `joined_ranks`).
    network, loss, sampler, augmentation, schedule
        To be used instead of what the plans and nnU-Net say. `loss` is that of one scale.
    training_batches, validation_batches
        To be used instead of patches of the stored cases.
    on_progress
        Called after each batch and each epoch, by the first rank. Without it, what should be known
        of a run, such as a checkpoint that could not be written, is a Python warning.
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
        ranks: Ranks | None = None,
        network: nn.Module | None = None,
        loss: Loss | None = None,
        sampler: Sampler | None = None,
        augmentation: Augmentation | None = None,
        training_batches: Batches | None = None,
        validation_batches: Batches | None = None,
        schedule: Schedule | None = None,
        allow_import: tuple[str, ...] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.config, self.dataset, self.fold = config, dataset, fold
        self.settings = settings = settings or TrainingSettings()
        self.ranks = ranks = ranks or alone(device)
        self.device = ranks.device
        wanted = None if settings.precision == "auto" else settings.precision
        self.autocast = find_precision(wanted, self.device)
        if self.autocast is torch.float16 and self.device.type != "cuda":
            raise ResencPlansError(
                f"Precision 'fp16': training on {self.device} has no gradient scaler. Use fp32."
            )
        try_all_kernels(self.device)
        self.folder = run_folder or default_run_folder(config, dataset, fold)
        self.on_progress = on_progress
        torch.manual_seed(settings.seed)
        labels = dataset.labels
        network = network or build_network(
            config,
            input_channels(config, labels),
            labels.num_heads,
            settings.deep_supervision,
            allow_import=allow_import,
        )
        self.network = ranks.with_common_statistics(network.to(self.device))
        self.network.to(memory_format=self._memory_format())  # type: ignore[call-overload]
        self.optimizer = MomentumSGD(
            self.network.parameters(),
            settings.learning_rate,
            settings.momentum,
            settings.weight_decay,
        )
        self.scaler = torch.amp.GradScaler("cuda") if self.autocast is torch.float16 else None
        self.schedule = schedule or polynomial(
            settings.learning_rate, settings.epochs, settings.poly_exponent
        )
        self.loss = loss or default_loss(config, labels, ranks)
        training, validation = training_batches, validation_batches
        if training is None or validation is None:
            usual = default_batches(config, dataset, fold, settings, ranks, sampler, augmentation)
            training, validation = training or usual[0], validation or usual[1]
        self.training_batches, self.validation_batches = training, validation
        self.epochs: tuple[Epoch, ...] = ()
        self.iteration = 0
        self.epoch_losses: tuple[float, ...] = ()
        self.epoch_begun = 0.0
        self.best: float | None = None
        self._last_checkpoint = time.monotonic()
        self._waited = 0.0
        self._bad_batches = BadBatches()
        self._parallel = self._in_parallel()

    def resume(self, checkpoint: Path | None = None) -> Path:
        """Go on from a checkpoint of this configuration and fold, ours or nnU-Net's.

        Raises
        ------
        FileError
            There is none, it is damaged, or belongs to another configuration or fold.
        """
        path = checkpoint or self.folder.resumable()
        state = load_state(path, self)
        self.epochs, self.best = state.epochs, state.best
        self.iteration, self.epoch_losses = state.iteration, state.epoch_losses
        self.epoch_begun = time.time() - state.epoch_seconds
        assert path is not None
        return path

    def fit(self) -> TrainingResult:
        """Train until all epochs are done, or until something asks to stop.

        SIGTERM, SIGUSR1, Ctrl-C and the time budget end a run after the batch that is being worked
        on, of training or validation, with a checkpoint.

        Raises
        ------
        ResencPlansError
            Gradients were not finite several times in a row, or a stored case is damaged.
        FileError
            The folder of the run cannot be written to, or the checkpoint that ends a run.
        """
        records = open_records(self) if self.ranks.is_first else None
        with StopRequest(self.settings.max_minutes) as stop:
            training = self.training_batches.stream(self._batches_done())
            validation = self.validation_batches.stream(
                len(self.epochs) * self.settings.validation_iterations
            )
            while len(self.epochs) < self.settings.epochs:
                reason = self._train_epoch(training, stop)
                validated = reason or self._validate(validation, stop)
                if isinstance(validated, str):
                    return self._end(validated, LATEST_CHECKPOINT)
                self._finish_epoch(validated)
                if records is not None:
                    self._record(records)
            return self._end(None, FINAL_CHECKPOINT)

    def _train_epoch(self, batches: Iterator[Batch], stop: StopRequest) -> str | None:
        """The rest of the current epoch; why it was left, None where it is done."""
        self._parallel.train()
        self.optimizer.learning_rate = self.schedule(len(self.epochs))
        if self.iteration == 0:
            self.epoch_begun = time.time()
        waited, begun = 0.0, time.perf_counter()
        while self.iteration < self.settings.iterations:
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            loss = self._train_step(batch)
            self.epoch_losses += (loss,)
            self.iteration += 1
            self._waited = waited / (time.perf_counter() - begun)
            self._tell(loss)
            reason = reason_to_stop(stop, self.ranks)
            if reason is not None:
                return reason
            self._save_now_and_then()
        return None

    def _train_step(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        loss = self._loss_of(batch)[0]
        scaler = self.scaler
        (scaler.scale(loss) if scaler else loss).backward()  # type: ignore[no-untyped-call]
        if scaler:
            scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        norm = clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        if scaler:
            scaler.step(self.optimizer)  # type: ignore[arg-type]
            scaler.update()
        elif torch.isfinite(norm):
            self.optimizer.step()
        value = loss.item()
        self._bad_batches.count(value, norm.item(), batch.cases, scaler, len(self.epochs))
        return value

    def _validate(self, batches: Iterator[Batch], stop: StopRequest) -> Validation | str:
        """Loss and pseudo Dice per class, over all ranks; or why to stop.

        A run that is stopped here validates the epoch anew when it goes on.
        """
        self._parallel.eval()
        losses, overlap = [], None
        with torch.no_grad():
            for number in range(1, self.settings.validation_iterations + 1):
                batch = next(batches)
                loss, logits, targets = self._loss_of(batch)
                losses.append(loss.item())
                found = count_overlap(logits[0].float(), targets[0], self.dataset.labels)
                overlap = found if overlap is None else overlap + found
                self._tell(losses[-1], validated=number)
                reason = reason_to_stop(stop, self.ranks)
                if reason is not None:
                    return reason
        assert overlap is not None
        counts = torch.cat([overlap.tp, overlap.fp, overlap.fn]).tolist()
        *summed, loss_sum = self.ranks.total([*counts, fmean(losses)])
        classes = len(summed) // 3
        tp, fp, fn = (summed[start * classes : (start + 1) * classes] for start in range(3))
        return loss_sum / self.ranks.world, dice_of(tp, fp, fn)

    def _loss_of(self, batch: Batch) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The loss with gradients, logits and targets of each scale."""
        images = batch.images.to(
            self.device, non_blocking=True, memory_format=self._memory_format()
        )
        targets = [target.to(self.device, non_blocking=True) for target in batch.targets]
        half = self.autocast is not None
        with torch.autocast(self.device.type, self.autocast, enabled=half):
            output = self._parallel(images)
            logits = [output] if isinstance(output, Tensor) else list(output)
            targets = targets[: len(logits)]
            loss = DeepSupervision(self.loss, self._weights(len(logits)))(logits, targets)
        return loss, logits, targets

    def _memory_format(self) -> torch.memory_format:
        """bfloat16 on a CPU is faster with channels last; all else is left as nnU-Net has it."""
        if self.device.type != "cpu" or self.autocast is None:
            return torch.preserve_format
        return torch.channels_last_3d if self.config.dim == 3 else torch.channels_last

    def _weights(self, scales: int) -> tuple[float, ...]:
        lowest = LOWEST_WEIGHT_OF_RANKS if self.ranks.world > 1 else 0.0
        return loss_weights(scales, lowest=lowest)

    def _finish_epoch(self, validation: Validation) -> None:
        [loss_sum] = self.ranks.total([fmean(self.epoch_losses)])
        previous = self.epochs[-1].smoothed_dice if self.epochs else None
        epoch = Epoch(
            training_loss=loss_sum / self.ranks.world,
            validation_loss=validation[0],
            dice=validation[1],
            smoothed_dice=math.nan,
            learning_rate=self.optimizer.learning_rate,
            begun=self.epoch_begun,
            ended=time.time(),
        )
        epoch = Epoch(**{**vars(epoch), "smoothed_dice": smoothed(previous, epoch.mean_dice)})
        self.epochs += (epoch,)
        self.iteration, self.epoch_losses = 0, ()
        is_best = self.best is None or math.isnan(self.best) or epoch.smoothed_dice > self.best
        if is_best:
            self.best = epoch.smoothed_dice
            self._try_to_save(BEST_CHECKPOINT)
        is_last = len(self.epochs) == self.settings.epochs
        if not is_last and len(self.epochs) % self.settings.checkpoint_epochs == 0:
            self._try_to_save(LATEST_CHECKPOINT)
        self._tell(epoch.training_loss, finished=epoch)

    def _batches_done(self) -> int:
        return len(self.epochs) * self.settings.iterations + self.iteration

    def _save_now_and_then(self) -> None:
        minutes = (time.monotonic() - self._last_checkpoint) / 60
        if minutes >= self.settings.checkpoint_minutes:
            self._try_to_save(LATEST_CHECKPOINT)

    def _try_to_save(self, name: str) -> None:
        """Write a checkpoint in passing; where that fails, go on with the old one."""
        try:
            self._save(name)
        except ResencPlansError as error:
            self._note(f"{error} Training goes on with the older checkpoint.")

    def _save(self, name: str) -> None:
        self._last_checkpoint = time.monotonic()
        if self.ranks.is_first:
            worked = time.time() - self.epoch_begun if self.iteration else 0.0
            state = self.epochs, self.best, self.iteration, self.epoch_losses, worked
            save_state(self.folder.checkpoint(name), TrainingState(*state), self)

    def _in_parallel(self) -> nn.Module:
        network = self.network
        if self.is_compiled:
            network = torch.compile(network)  # type: ignore[assignment]
        if self.ranks.world == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        has_idle_heads = not self.settings.deep_supervision
        return DistributedDataParallel(
            network, device_ids=devices, find_unused_parameters=has_idle_heads
        )

    @property
    def is_compiled(self) -> bool:
        """Whether the network goes through torch.compile."""
        if self.settings.compile is None:
            return self.device.type == "cuda" and sys.platform != "win32"
        return self.settings.compile

    def _end(self, reason: str | None, checkpoint: str) -> TrainingResult:
        try:
            self._save(checkpoint)
        except ResencPlansError as error:
            raise FileError(f"{error} Make room, then go on with --resume.") from error
        if checkpoint == FINAL_CHECKPOINT and self.ranks.is_first:
            self.folder.checkpoint(LATEST_CHECKPOINT).unlink(missing_ok=True)
        self.ranks.wait()
        path = self.folder.checkpoint(checkpoint)
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
                iteration=self.iteration if validated is None else validated,
                iterations=settings.iterations if is_training else settings.validation_iterations,
                is_training=is_training,
                loss=loss,
                learning_rate=self.optimizer.learning_rate,
                finished=finished,
                waited=self._waited,
                note=note,
            )
        )

    def _note(self, text: str) -> None:
        if self.on_progress is None:
            warnings.warn(text, stacklevel=2)
        self._tell(math.nan, note=text)

    def _record(self, records: Records) -> None:
        """Write the last epoch down; a log that cannot be written must not end the training."""
        try:
            records.add(self.epochs, self._waited)
        except (OSError, FileError) as error:
            self._note(f"{self.folder.path}: the records lack an epoch. {error}")
