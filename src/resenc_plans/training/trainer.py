"""`Trainer`: trains a configuration as nnU-Net 2.8.1 does, and can be stopped at any moment.

The story is `fit` -> `_train_epoch` -> `_train_step`. What may be replaced by the caller: network,
loss, sampler, augmentation, batches, schedule.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.errors import ResencPlansError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.device import find_precision, try_all_kernels
from resenc_plans.plans.models import ResolvedConfiguration
from resenc_plans.training.batches import Augmentation, Batch, Batches, Sampler
from resenc_plans.training.history import Epoch, smoothed
from resenc_plans.training.loss import (
    LOWEST_WEIGHT_OF_RANKS,
    DeepSupervision,
    Loss,
    deep_supervision_weights,
)
from resenc_plans.training.optimizer import MomentumSGD
from resenc_plans.training.progress import Progress, TrainingResult
from resenc_plans.training.pseudo_dice import count_overlap, dice_of
from resenc_plans.training.ranks import ALONE, Ranks
from resenc_plans.training.records import Records
from resenc_plans.training.run_folder import BEST, FINAL, LATEST, RunFolder
from resenc_plans.training.schedule import Schedule, polynomial
from resenc_plans.training.settings import TrainingSettings
from resenc_plans.training.stopping import StopRequest
from resenc_plans.training.training_state import TrainingState, load_state, save_state
from resenc_plans.training.usual_parts import (
    input_channels,
    usual_batches,
    usual_loss,
    usual_run_folder,
)

NAN_PATIENCE = 5
"""Batches in a row whose gradients are not finite, after which training stops."""

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
    run_folder
        Where the results go; by default as nnU-Net has it, see `usual_run_folder`.
    ranks
        The device, and where this process stands among those that train together.
    network, loss, sampler, augmentation, schedule
        To be used instead of what the plans and nnU-Net say. `loss` is that of one scale.
    training_batches, validation_batches
        To be used instead of patches of the stored cases.
    on_progress
        Called after each batch and each epoch, by the first rank.
    """

    def __init__(
        self,
        config: ResolvedConfiguration,
        dataset: Dataset,
        fold: int | str = 0,
        settings: TrainingSettings | None = None,
        *,
        run_folder: RunFolder | None = None,
        ranks: Ranks = ALONE,
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
        self.ranks, self.device = ranks, ranks.device
        wanted = None if settings.precision == "auto" else settings.precision
        self.autocast = find_precision(wanted, self.device)
        try_all_kernels(self.device)
        self.folder = run_folder or usual_run_folder(config, dataset, fold)
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
        self.loss = loss or usual_loss(config, labels, ranks)
        training, validation = training_batches, validation_batches
        if training is None or validation is None:
            usual = usual_batches(config, dataset, fold, settings, ranks, sampler, augmentation)
            training, validation = training or usual[0], validation or usual[1]
        self.training_batches, self.validation_batches = training, validation
        self.epochs: tuple[Epoch, ...] = ()
        self.iteration = 0
        self.epoch_losses: tuple[float, ...] = ()
        self.epoch_begun = 0.0
        self.best: float | None = None
        self._last_checkpoint = time.monotonic()
        self._bad_batches: list[tuple[str, ...]] = []
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
        self.epoch_begun = state.epoch_begun
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
            The folder of the run cannot be written to.
        """
        records = None
        if self.ranks.is_first:
            self.folder.prepare(self.config, self.dataset)
            self.folder.write_debug(self._facts())
            self.folder.keep_records(len(self.epochs))
            records = self._records()
        with StopRequest(self.settings.max_minutes) as stop:
            training = self.training_batches.stream(self._batches_done())
            validation = self.validation_batches.stream(
                len(self.epochs) * self.settings.validation_iterations
            )
            while len(self.epochs) < self.settings.epochs:
                reason = self._train_epoch(training, stop)
                validated = reason or self._validate(validation, stop)
                if isinstance(validated, str):
                    self._save(LATEST)
                    return self._result(validated, LATEST)
                self._finish_epoch(validated)
                if records is not None:
                    records.add(self.epochs, self._waited)
            self._save(FINAL)
            if self.ranks.is_first:
                self.folder.checkpoint(LATEST).unlink(missing_ok=True)
        return self._result(None, FINAL)

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
            reason = stop.reason(self.ranks)
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
        is_good = math.isfinite(value) and (scaler is not None or math.isfinite(norm.item()))
        self._count_bad_batches(batch, is_good=is_good)
        return value

    def _validate(self, batches: Iterator[Batch], stop: StopRequest) -> Validation | str:
        """Loss and pseudo Dice per class, over all ranks; or why to stop.

        A run that is stopped here validates the epoch anew when it goes on.
        """
        self._parallel.eval()
        losses, overlap = [], None
        with torch.no_grad():
            for _ in range(self.settings.validation_iterations):
                batch = next(batches)
                loss, logits, targets = self._loss_of(batch)
                losses.append(loss.item())
                found = count_overlap(logits[0].float(), targets[0], self.dataset.labels)
                overlap = found if overlap is None else overlap + found
                reason = stop.reason(self.ranks)
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
        return deep_supervision_weights(scales, lowest=lowest)

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
            self._save(BEST)
        is_last = len(self.epochs) == self.settings.epochs
        if not is_last and len(self.epochs) % self.settings.checkpoint_epochs == 0:
            self._save(LATEST)
        self._tell(epoch.training_loss, finished=epoch)

    def _batches_done(self) -> int:
        return len(self.epochs) * self.settings.iterations + self.iteration

    def _save_now_and_then(self) -> None:
        minutes = (time.monotonic() - self._last_checkpoint) / 60
        if self.ranks.is_first and minutes >= self.settings.checkpoint_minutes:
            self._save(LATEST)

    def _save(self, name: str) -> None:
        """Write a checkpoint; where that fails, say so and go on with the old one."""
        self._last_checkpoint = time.monotonic()
        if not self.ranks.is_first:
            return
        try:
            save_state(self.folder.checkpoint(name), self._state(), self)
        except ResencPlansError as error:
            self._tell(math.nan, note=f"{error} Training goes on with the older checkpoint.")

    def _state(self) -> TrainingState:
        return TrainingState(
            self.epochs, self.best, self.iteration, self.epoch_losses, self.epoch_begun
        )

    def _count_bad_batches(self, batch: Batch, *, is_good: bool) -> None:
        self._bad_batches = [] if is_good else [*self._bad_batches, batch.cases]
        if len(self._bad_batches) >= NAN_PATIENCE:
            cases = ", ".join(sorted({case for cases in self._bad_batches for case in cases}))
            raise ResencPlansError(
                f"Epoch {len(self.epochs)}: loss or gradients were not finite in {NAN_PATIENCE} "
                "batches in a row; training stops, the last checkpoint is good. Cases: "
                f"{cases}. Look at their images, or use another --precision or a lower learning "
                "rate."
            )

    def _in_parallel(self) -> nn.Module:
        network = self.network
        if self._is_compiled():
            network = torch.compile(network)  # type: ignore[assignment]
        if self.ranks.world == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def _is_compiled(self) -> bool:
        if self.settings.compile is None:
            return self.device.type == "cuda" and sys.platform != "win32"
        return self.settings.compile

    def _result(self, reason: str | None, checkpoint: str) -> TrainingResult:
        self.ranks.wait()
        path = self.folder.checkpoint(checkpoint)
        return TrainingResult(reason is None, reason, path, self.epochs)

    def _tell(self, loss: float, *, finished: Epoch | None = None, note: str | None = None) -> None:
        if self.on_progress is not None and self.ranks.is_first:
            self.on_progress(
                Progress(
                    len(self.epochs) - (finished is not None),
                    self.iteration,
                    self.settings.iterations,
                    finished is None,
                    loss,
                    finished,
                    self._waited,
                    note,
                )
            )

    _waited = 0.0

    def _records(self) -> Records:
        title = f"{self.dataset.name}, {self.config.plans.name}, {self.config.name}, {self.fold}"
        settings = self.settings
        return Records(self.folder, title, settings.epochs, tensorboard=settings.tensorboard)

    def _facts(self) -> dict[str, Any]:
        return {
            "configuration": self.config.name,
            "plans": self.config.plans.name,
            "dataset": self.dataset.name,
            "fold": self.fold,
            "device": self.device,
            "precision": self.autocast or torch.float32,
            "compiled": self._is_compiled(),
            "world": self.ranks.world,
            "torch": torch.__version__,
            "settings": self.settings.model_dump_json(),
            "network": type(self.network).__name__,
        }
