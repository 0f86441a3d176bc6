"""Predictions that do not fit into memory: fewer tiles at once, sums on the host or in a file."""

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resenc_plans.errors import DeviceError, FileError
from resenc_plans.execution.memory import free_memory
from resenc_plans.networks.device import is_out_of_memory

logger = logging.getLogger(__name__)

HOST = torch.device("cpu")

MAX_TILES = 64
"""More do not keep a GPU any busier."""
MAX_SHARE_OF_MEMORY = 0.5
"""Sums that take more of the free memory than this go to a file."""


@dataclass(frozen=True)
class MemoryUse:
    """How much memory a prediction may take."""

    tiles_per_batch: int
    sum_device: torch.device


def memory_uses(device: torch.device, batch_size: int) -> Iterator[MemoryUse]:
    """What to try on a device, the most demanding first.

    A GPU that can train `batch_size` patches can predict as many; a CPU is busy with one.
    """
    if device.type == "cpu":
        yield MemoryUse(1, HOST)
        return
    tiles = min(batch_size, MAX_TILES)
    while tiles > 1:
        yield MemoryUse(tiles, device)
        tiles //= 4
    yield MemoryUse(1, device)
    yield MemoryUse(1, HOST)


def predict_within_memory(
    device: torch.device, batch_size: int, predict: Callable[[MemoryUse], Tensor]
) -> Tensor:
    """What `predict` returns with the first memory use that the device has room for.

    A warning is logged where sums are kept on the host.

    Raises
    ------
    DeviceError
        There is room for none: the network is too large for the device, or the image for the host.
    """
    for use in memory_uses(device, batch_size):
        if use.sum_device != device:
            logger.warning("The memory of %s does not suffice: sums are kept on the host.", device)
        try:
            return predict(use)
        except RuntimeError as error:  # what the attempt held is freed when this block ends
            if not is_out_of_memory(error):
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise DeviceError(
        f"{device}: not enough memory to predict one patch. Use a device with more of it."
    )


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros; on the host, if it is large, one that is mapped to a temporary file.

    The file lies where TMPDIR says, has no name, and is gone with the tensor.

    Raises
    ------
    FileError
        The disk has no room for the file.
    """
    free = free_memory() if device.type == "cpu" else None
    if free is None or math.prod(shape) * dtype.itemsize <= MAX_SHARE_OF_MEMORY * free:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    return _zeros_in_file(shape, dtype)


def _zeros_in_file(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    size = math.prod(shape)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "sums"
        with path.open("wb") as stream:
            stream.truncate(size * dtype.itemsize)
            if hasattr(os, "posix_fallocate"):
                _allocate(stream.fileno(), size * dtype.itemsize, Path(folder).parent)
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(tuple(shape))


def _allocate(descriptor: int, size: int, folder: Path) -> None:
    """Reserve all blocks now; without them a later write would kill the process."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise FileError(
            f"{folder}: has no room for the logits' sums, {size / 2**30:.1f} GiB "
            f"({error.strerror}). Set TMPDIR to a folder that has."
        ) from None
