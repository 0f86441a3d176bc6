"""Checkpoints written by a thread, from copies in main memory, while the training goes on."""

import copy
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resenc_plans.runs.checkpoint import Checkpoint, save_checkpoint

logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes one checkpoint after the other; the training waits only for the one before.

    The copies take as much main memory as weights and optimizer take on the device. Where there is
    no room for them, the training waits while its checkpoint is written.
    """

    def __init__(self) -> None:
        self._copies = HostCopies()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def write(self, path: Path, checkpoint: Checkpoint) -> None:
        """Begin to write, when the one before is written; `wait` raises what prevents it.

        Raises
        ------
        ResencPlansError
            The one before was not written, and `wait` was not called.
        """
        self.wait()
        try:
            checkpoint = self._copies.of(checkpoint)
        except (RuntimeError, MemoryError) as error:
            logger.debug("A checkpoint is written without a copy", exc_info=error)
            self._copies = HostCopies()
            self._write(path, checkpoint)
            return
        # Not a daemon: an interpreter that ends waits for the file.
        self._thread = threading.Thread(
            target=self._write, args=(path, checkpoint, self._copies.event), name="checkpoint"
        )
        self._thread.start()

    def wait(self) -> None:
        """Return when the checkpoint is in its place.

        Raises
        ------
        FileError
            It could not be written; what was there before is unchanged.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def close(self) -> None:
        """Wait, at the end of a run that ends for another reason, and release the copies."""
        try:
            self.wait()
        except Exception as error:  # of a device that has failed, too, which the run tells
            logger.warning("%s", error)
        self._copies = HostCopies()

    def _write(self, path: Path, checkpoint: Checkpoint, copied: Any = None) -> None:
        try:
            if copied is not None:
                torch.cuda.set_device(copied.device)  # a thread begins with the first GPU
                copied.synchronize()
            save_checkpoint(path, checkpoint)
        except BaseException as error:  # which the run is to see
            self._fault = error


class HostCopies:
    """Copies of tensors in main memory, always in the same memory.

    On CUDA it is pinned, and the copies are queued behind what the GPU has been given: they hold
    the values of that moment once `event` has come.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self.event: Any = None

    def of(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint as it is now; parts that share memory do so in the copy too.

        Copies that were made before are overwritten.
        """
        copies: dict[int, Any] = {}
        of_storage: dict[tuple[torch.device, int], Tensor] = {}
        self.event = None
        number = 0
        for tensor in _tensors(vars(checkpoint)):
            storage = tensor.untyped_storage()
            place = (tensor.device, storage.data_ptr())
            if place not in of_storage:
                of_storage[place] = self._copy(number, tensor)
                number += 1
            copied = torch.empty(0, dtype=tensor.dtype)
            copied.set_(
                of_storage[place].untyped_storage(),
                tensor.storage_offset(),
                tensor.shape,
                tensor.stride(),
            )
            copies[id(tensor)] = copied.requires_grad_(tensor.requires_grad)
        del self._buffers[number:]
        return copy.deepcopy(checkpoint, copies)

    def _copy(self, number: int, tensor: Tensor) -> Tensor:
        """All bytes of a tensor's memory, in the buffer of this number."""
        storage, device = tensor.untyped_storage(), tensor.device
        on_gpu = device.type == "cuda"
        values = torch.empty(0, dtype=torch.uint8, device=device)
        values.set_(storage, 0, (storage.nbytes(),), (1,))
        if number == len(self._buffers):
            self._buffers.append(torch.empty(0, dtype=torch.uint8))
        if len(self._buffers[number]) != len(values):
            self._buffers[number] = torch.empty(len(values), dtype=torch.uint8, pin_memory=on_gpu)
        self._buffers[number].copy_(values, non_blocking=on_gpu)
        if on_gpu:
            self.event = torch.cuda.current_stream(device).record_event(self.event)
        return self._buffers[number]


def _tensors(document: Any) -> Iterator[Tensor]:
    """Tensors in nested containers, but for kinds that are rare; `copy` copies these by itself."""
    if isinstance(document, Mapping):
        document = document.values()
    elif not isinstance(document, list | tuple):
        if type(document) is Tensor and _is_plain(document):
            yield document
        return
    for part in document:
        yield from _tensors(part)


def _is_plain(tensor: Tensor) -> bool:
    is_rare = tensor.is_complex() or tensor.is_quantized or bool(vars(tensor))
    return not is_rare and tensor.layout == torch.strided and tensor.untyped_storage().nbytes() > 0
