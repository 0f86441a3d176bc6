"""Where a device's memory does not suffice: fewer tiles at once, then sums on the host."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resenc_plans.networks.device import is_out_of_memory

HOST = torch.device("cpu")

MOST_TILES = 64
"""More do not keep a GPU any busier."""


@dataclass(frozen=True)
class Attempt:
    """How much memory a prediction may take."""

    tiles_per_batch: int
    sum_device: torch.device


def attempts(device: torch.device, batch_size: int) -> Iterator[Attempt]:
    """What to try on a device, the most demanding first.

    A GPU that trains `batch_size` patches predicts as many with ease; a CPU is busy with one.
    """
    if device.type == "cpu":
        yield Attempt(1, HOST)
        return
    tiles = min(batch_size, MOST_TILES)
    while tiles > 1:
        yield Attempt(tiles, device)
        tiles //= 4
    yield Attempt(1, device)
    yield Attempt(1, HOST)


def first_that_fits(
    device: torch.device,
    batch_size: int,
    predict: Callable[[Attempt], Tensor],
    on_note: Callable[[str], None] | None = None,
) -> Tensor:
    """What `predict` returns in the first attempt whose memory suffices.

    `on_note` is told when sums had to be kept on the host.

    Raises
    ------
    MemoryError
        None does: the network itself is too large for the device, or the image for the host.
    """
    for attempt in attempts(device, batch_size):
        if attempt.sum_device != device and on_note is not None:
            on_note(f"The memory of {device} does not suffice: sums are kept on the host.")
        try:
            return predict(attempt)
        except RuntimeError as error:  # what the attempt held is freed when this block ends
            if not is_out_of_memory(error):
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise MemoryError(f"{device}: not enough memory to predict one patch")
