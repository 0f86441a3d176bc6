"""What a training leaves in the folder of its run, from the first file to the last."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from resenc_plans.errors import FileError, ResencPlansError
from resenc_plans.execution.unfinished import remove_unfinished
from resenc_plans.folders import LATEST_CHECKPOINT
from resenc_plans.plans.nnunet_trainers import is_benchmark
from resenc_plans.runs.beginning import changes_on_the_way, refuse_if_gone_on, refuse_to_replace
from resenc_plans.runs.checkpoint import Checkpoint
from resenc_plans.runs.folds import FoldCases
from resenc_plans.runs.run_folder import Checkpoints, RunFolder
from resenc_plans.runs.run_record import RunRecord
from resenc_plans.training.benchmark import write_benchmark
from resenc_plans.training.checkpoint_writer import CheckpointWriter
from resenc_plans.training.checkpointing import RunIdentity
from resenc_plans.training.history import Epoch
from resenc_plans.training.meter import Meter
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.records import Records

logger = logging.getLogger(__name__)


class RunFiles:
    """Writes them. Every rank has one and calls all of its methods alike; the first one writes.

    Parameters
    ----------
    folder
        The run's.
    run, record, cases
        What is trained, how, and on which cases; without stored cases None.
    ranks
        Those that train.
    note
        Is told what could not be written. Of the files of an epoch, none ends the training.
    """

    def __init__(
        self,
        folder: RunFolder,
        run: RunIdentity,
        record: RunRecord,
        cases: FoldCases | None,
        ranks: Ranks,
        note: Callable[[str], None],
    ) -> None:
        self._folder, self._run, self._record, self._cases = folder, run, record, cases
        self._ranks, self._note = ranks, note
        self._records: Records | None = None
        self._meter: Meter | None = None
        self._writer = CheckpointWriter()
        self._being_written = ""
        self._last_checkpoint = time.monotonic()

    def begin(
        self,
        epochs_done: int,
        facts: Mapping[str, Any],
        *,
        resumes: Checkpoints | None,
        overwrite: bool,
        allow_differences: bool,
    ) -> None:
        """Make room for the run, and open its records.

        `facts` go into debug.json. `resumes` is what checkpoints the folder had when one of them
        was loaded to go on from; None begins anew. The others are parameters of `Trainer`.

        Raises
        ------
        TrainingError
            The folder holds a checkpoint that is neither resumed nor may be replaced, was trained
            otherwise so far, or by another process since its checkpoint was loaded.
        FileError
            The folder cannot be written to.
        """
        is_trained = epochs_done >= self._run.settings.epochs
        changes: tuple[str, ...] = ()
        self._ranks.wait()  # until the first one has the lock
        if resumes is not None:
            refuse_if_gone_on(self._folder, resumes)
            changes = changes_on_the_way(
                self._folder,
                self._record,
                self._cases,
                allow_differences=allow_differences or is_trained,
            )
        elif not overwrite:
            refuse_to_replace(self._folder)
        self._ranks.wait()
        if not self._ranks.is_first:
            return
        self._log_changes(changes, is_trained=is_trained)
        before = None if resumes is None else RunRecord.load(self._folder.path)
        if resumes is None:
            self._folder.move_aside()
        elif is_trained:
            remove_unfinished(self._folder.path, sole=True)
            if before is not None and before.flat_settings["epochs"] != epochs_done:
                before.with_epochs(epochs_done).save(self._folder.path)
            return
        else:
            self._folder.reopen()
        self._records = Records.open(self._folder, self._run, facts, epochs_done=epochs_done)
        if not is_trained:
            record = self._record
            if before is not None:
                record = record.after(before, epochs_done, changes)
            record.save(self._folder.path)
            if self._cases is not None:
                self._cases.save(self._folder.path)

    def _log_changes(self, changes: tuple[str, ...], *, is_trained: bool) -> None:
        for text in self._cases.notes if self._cases is not None else ():
            logger.warning("%s", text)
        if changes:
            logger.warning(
                "%s: has been trained otherwise so far: %s.%s",
                self._folder.path,
                "; ".join(changes),
                " Its records stay, since no epoch follows." if is_trained else "",
            )

    def measure(self, epochs_done: int, *, resumed: bool) -> None:
        """Begin to count what the run takes; see `Meter`."""
        self._meter = Meter(self._folder, self._ranks, epochs_done=epochs_done, resumed=resumed)

    def add_epoch(self, epochs: tuple[Epoch, ...], waited: float) -> None:
        """Write the last of the epochs down; `waited` is the share of time spent without data.

        This comes before the epoch's checkpoint: a run that is killed between the two trains the
        epoch again and drops the line, whereas a line that is missing could not be restored.
        """
        if self._records is None:
            return
        try:
            self._records.add(epochs, waited)
        except (OSError, FileError) as error:
            self._note(f"{self._folder.path}: the records lack an epoch. {error}")

    def add_cost(self, epochs_done: int, *, is_end: bool = False) -> None:
        """Write down what the run has taken so far."""
        assert self._meter is not None
        try:
            self._meter.record(epochs_done=epochs_done, is_end=is_end)
        except (OSError, FileError) as error:
            self._note(f"{self._folder.path}: what the training takes was not recorded. {error}")

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether so much time has passed since the last one that there should be another."""
        minutes = (time.monotonic() - self._last_checkpoint) / 60
        return minutes >= self._run.settings.checkpoint_minutes

    def save(self, name: str, checkpoint: Callable[[], Checkpoint]) -> None:
        """Begin to write a checkpoint, when the one before is settled."""
        self._last_checkpoint = time.monotonic()
        if self._ranks.is_first and self._run.settings.save_checkpoints:
            self._being_written = name
            self._writer.write(self._folder.checkpoint(name), checkpoint())

    def settle(self) -> str | None:
        """Wait for the last checkpoint; its name if it was not written: the old one stays."""
        try:
            self._writer.wait()
        except ResencPlansError as error:
            self._note(f"{error} Training continues with the older checkpoint.")
            return self._being_written
        return None

    def end(self, epochs: Sequence[Epoch], *, is_complete: bool) -> None:
        """Write what ends a run, when the checkpoint that ends it is written.

        Raises
        ------
        FileError
            That checkpoint could not be written.
        """
        try:
            self._writer.wait()
        except ResencPlansError as error:
            raise FileError(f"{error} Make room, then resume the training.") from error
        if is_complete and self._ranks.is_first:
            self._folder.checkpoint(LATEST_CHECKPOINT).unlink(missing_ok=True)
        self.add_cost(len(epochs), is_end=True)
        if is_complete and self._ranks.is_first and is_benchmark(self._run.settings.trainer):
            device, world = self._ranks.device, self._ranks.world
            write_benchmark(self._folder.path, epochs, device, processes=world)
        self._ranks.wait()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait in the end for the checkpoint that is being written, whatever ends the run."""
        try:
            yield
        finally:
            self._writer.close()

    def close(self) -> None:
        """Let the trackers pass on what is left."""
        if self._records is not None:
            self._records.close()
