"""Batches of patches from the store, made here or by other processes.

How these processes are started, how they end, and what signals do to them is here as well.
"""

import atexit
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import count
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from resenc_plans.errors import ResencPlansError, WorkerError
from resenc_plans.execution.parents import end_with_parent
from resenc_plans.training.batches.prefetch import prefetched
from resenc_plans.training.batches.shared_memory import (
    HINT,
    SHARED_MEMORY,
    LoaderDemand,
    batches_ahead,
    free_shared_memory,
)
from resenc_plans.training.batches.source import Batch, PatchSource

if TYPE_CHECKING:
    from resenc_plans.training.batches.drawn_samples import DrawnSamples
    from resenc_plans.training.batches.samples import Samples

_IGNORED_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


@dataclass(frozen=True)
class PatchBatches:
    """Patches of stored cases, for one rank; with `workers` 0 this process makes them itself."""

    source: PatchSource
    workers: int = 0
    ahead: int | None = None
    """Batches that each worker makes ahead; None: as many as /dev/shm has room for."""
    augmenting: torch.device | None = None
    """The device that augments the samples; None: they are augmented where they are made."""
    copied_to: torch.device | None = None
    """A GPU that takes the batches from pinned memory, those of workers ahead; None: no GPU."""

    @property
    def demand(self) -> LoaderDemand:
        """What its batches take of the memory that processes share."""
        is_drawn = self.augmenting is not None
        size = self.source.drawn_bytes if is_drawn else self.source.batch_bytes
        return LoaderDemand(self.workers, size)

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches number `first`, `first + 1` and so on, without end.

        Its processes start at once, and nothing else does before the first batch is asked for. To
        fork is safest before the process uses a GPU and has threads, such as those of compilation,
        and the first batches of a validation are made while the training runs.

        Raises
        ------
        ResencPlansError
            A case is damaged (FileError), or a sampler or an augmentation returned what does not
            fit (TrainingError).
        WorkerError
            A worker was killed, or /dev/shm has too little room for the batches.
        """
        batches = self._made(first)
        if self.copied_to is None or not self.workers:
            return batches
        return prefetched(batches, self.copied_to)

    def _made(self, first: int) -> Iterator[Batch]:
        ahead = self.ahead or batches_ahead([self.demand])[0]
        loader = DataLoader(
            _ByNumber(self.source, is_drawn=self.augmenting is not None),
            batch_size=None,
            sampler=_Numbers(first),
            num_workers=self.workers,
            prefetch_factor=ahead if self.workers else None,
            generator=torch.Generator(),  # or it would draw from the generator of the training
            worker_init_fn=_prepare_worker,
        )
        finish = self._finish()  # first, since forked processes share what it imports
        batches, workers = _start(loader)
        return _finished(_pinned(batches) if self.copied_to else batches, workers, finish)

    def _finish(self) -> Callable[[tuple[Any, ...]], Batch]:
        """From the parts that a process has made to a batch."""
        if self.augmenting is None:
            return lambda parts: Batch(*parts)
        from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
        from resenc_plans.training.batches.drawn import DrawnBatch

        augment = DeviceAugmentation(self.source, self.augmenting)
        return lambda parts: augment(DrawnBatch(*parts))


def _finished(
    batches: Iterator[Any],
    workers: list[BaseProcess],
    finish: Callable[[tuple[Any, ...]], Batch],
) -> Iterator[Batch]:
    """Batches of the parts that processes have made; what they raise, and why they end."""
    try:
        for parts, fault in batches:
            if fault is not None:
                raise fault
            yield finish(parts)
    except RuntimeError as error:
        reason = _reason_of_end(error, workers)
        if reason is None:
            raise
        raise WorkerError(reason) from error
    finally:
        del batches  # which ends the processes, whoever still holds a traceback with this frame


def _pinned(batches: Iterator[Any]) -> Iterator[Any]:
    """Parts of batches in pinned memory, pinned by who takes them.

    The loader's own thread would use the GPU at once, before other loaders have forked.
    """
    for parts, fault in batches:
        yield tuple(p.pin_memory() if isinstance(p, torch.Tensor) else p for p in parts), fault


class _Numbers:
    """The numbers of the batches, as a sampler."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return count(self.first)


class _ByNumber(Dataset[Any]):
    """Makes a batch of its number: its parts, and None or why there are none."""

    def __init__(self, source: PatchSource, *, is_drawn: bool) -> None:
        self.source, self.is_drawn = source, is_drawn
        self.samples: Samples | DrawnSamples | None = None

    def __getitem__(self, number: int) -> tuple[tuple[Any, ...], ResencPlansError | None]:
        if self.samples is None:
            # The import is slow, and done by each process.
            from resenc_plans.training.batches.drawn_samples import DrawnSamples
            from resenc_plans.training.batches.samples import Samples

            self.samples = (DrawnSamples if self.is_drawn else Samples)(self.source)
        try:
            batch = self.samples.batch(number)
        except ResencPlansError as error:
            return (), error
        return tuple(getattr(batch, part.name) for part in fields(batch)), None


def _reason_of_end(error: RuntimeError, workers: list[BaseProcess]) -> str | None:
    """Why no more batches come, for people; None if a worker's end is not the reason."""
    signals = {-(worker.exitcode or 0) for worker in workers}
    if "shared memory" in str(error) or getattr(signal, "SIGBUS", None) in signals:
        free = free_shared_memory()
        room = "" if free is None else f" ({free / 2**20:,.1f} MiB are free now)"
        return f"A process that loads data ended since {SHARED_MEMORY} is full{room}. {HINT}."
    if str(error).startswith("DataLoader worker (pid"):
        return (
            f"A process that loads data was killed, most likely for lack of memory: {error}. "
            "Try fewer workers."
        )
    return None


def _start(loader: DataLoader[Any]) -> tuple[Iterator[Any], list[BaseProcess]]:
    """Start a loader's processes; they will not outlive this one, even if nobody ends them.

    When the interpreter ends, `multiprocessing` sends the remaining processes a signal that ours
    ignore, so it would wait for ever.
    """
    former = multiprocessing.active_children()
    with _sigchld_kept():
        batches = iter(loader)
    workers = [worker for worker in multiprocessing.active_children() if worker not in former]
    for worker in workers:
        atexit.register(worker.kill)
    return batches, workers


def _prepare_worker(worker: int) -> None:
    """Ctrl-C, SLURM and torchrun signal all processes of a group, and batches are still needed.

    A worker ends when the trainer closes its queue, or is gone.
    """
    del worker
    end_with_parent()
    for name in _IGNORED_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextmanager
def _sigchld_kept() -> Iterator[None]:
    """Undo torch's handler of SIGCHLD, which raises wherever the training happens to be.

    The death of a worker is also reported when its batch is requested.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
