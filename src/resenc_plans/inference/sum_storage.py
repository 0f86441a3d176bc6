"""Where the sums of logits lie: in memory, or in a file where an image is larger than that."""

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from resenc_plans.errors import FileError
from resenc_plans.preprocessing.worker_memory import free_memory

SHARE_OF_MEMORY = 0.5
"""Sums that take more of the free memory than this go to a file."""


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros; on the host, if it is large, one that is mapped to a temporary file.

    The file lies where TMPDIR says, has no name, and is gone with the tensor.
    """
    free = free_memory() if device.type == "cpu" else None
    if free is None or math.prod(shape) * dtype.itemsize <= SHARE_OF_MEMORY * free:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    return zeros_in_file(shape, dtype)


def zeros_in_file(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros that is mapped to a temporary file.

    Raises
    ------
    FileError
        The disk has no room for it; without all blocks a later write would kill the process.
    """
    size = math.prod(shape)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "sums"
        with path.open("wb") as stream:
            stream.truncate(size * dtype.itemsize)
            if hasattr(os, "posix_fallocate"):
                _allocate(stream.fileno(), size * dtype.itemsize, Path(folder).parent)
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(tuple(shape))


def _allocate(descriptor: int, size: int, folder: Path) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise FileError(
            f"{folder}: has no room for the logits' sums, {size / 2**30:.1f} GiB "
            f"({error.strerror}). Set TMPDIR to a folder that has."
        ) from None
