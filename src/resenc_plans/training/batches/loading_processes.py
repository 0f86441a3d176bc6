"""Processes that make batches: how they are started, how they end, and what signals do to them."""

import atexit
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader


def start(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start a loader's processes; they will not outlive this one, even if nobody ends them.

    What `multiprocessing` sends to processes that are left when the interpreter ends is a signal
    that ours ignore, so it would wait for ever.
    """
    others = multiprocessing.active_children()
    with _sigchld_kept():
        made = iter(loader)
    for worker in multiprocessing.active_children():
        if worker not in others:
            atexit.register(worker.kill)
    return made


def leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C, SLURM and torchrun signal all processes of a group, and batches are still needed.

    A worker ends when the trainer closes its queue, or is gone.
    """
    del worker
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextmanager
def _sigchld_kept() -> Iterator[None]:
    """Undo torch's handler of SIGCHLD, which raises wherever the training happens to be.

    That a worker died is told when its batch is asked for, too.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
