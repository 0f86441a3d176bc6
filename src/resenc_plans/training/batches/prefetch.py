"""Batches that are copied to a GPU, or augmented there, while it works on the one before."""

import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch

from resenc_plans.training.batches.source import Batch

AHEAD = 1
"""Batches that are queued beside the one in use; one more waits on the device to be queued."""
_SECONDS = 0.1
"""After which a thread that waits looks whether it is still needed."""


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches, each on the device before it is asked for.

    A thread takes them, and on CUDA queues their copies on a stream of its own: they go on while
    the device trains, and the host waits for neither.
    """
    is_cuda = device.type == "cuda"
    side = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]
    ready: queue.Queue[tuple[Batch | None, Any, BaseException | None]] = queue.Queue(AHEAD)
    is_over = threading.Event()

    def put(batch: Batch | None, copied: Any, error: BaseException | None) -> None:
        while not is_over.is_set():
            with suppress(queue.Full):
                ready.put((batch, copied, error), timeout=_SECONDS)
                return

    def on_side() -> AbstractContextManager[Any]:
        return nullcontext() if side is None else torch.cuda.stream(side)

    def copy() -> None:
        try:
            if is_cuda:
                torch.cuda.set_device(device)  # a thread begins with the first GPU
            with on_side():
                for batch in batches:
                    moved = replace(
                        batch,
                        images=batch.images.to(device, non_blocking=True),
                        target=batch.target.to(device, non_blocking=True),
                    )
                    put(moved, None if side is None else side.record_event(), None)
                    if is_over.is_set():
                        return
        except BaseException as error:  # which the trainer is to see
            put(None, None, error)
        else:
            put(None, None, StopIteration())
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=copy, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            batch, copied, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback holds this frame, and so workers and batches
            assert batch is not None
            if copied is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(copied)
                for tensor in (batch.images, batch.target):
                    tensor.record_stream(current)
            yield batch
    finally:
        is_over.set()
        if thread is not threading.current_thread():  # which may collect what nobody refers to
            thread.join()
