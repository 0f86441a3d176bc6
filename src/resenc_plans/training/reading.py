"""Numbers on their way from the device to the host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """Numbers of the device, on their way; nothing waits for them before they are asked for."""

    packed: Tensor
    copied: Any = None
    """The event on CUDA after which the host has them."""

    @classmethod
    def begin(cls, scalars: Sequence[Tensor]) -> Self:
        """Begin to read scalars of one device."""
        packed = torch.cat([scalar.detach().view(1) for scalar in scalars])
        if packed.device.type != "cuda":
            return cls(packed)
        host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
        host.copy_(packed, non_blocking=True)
        return cls(host, torch.cuda.current_stream(packed.device).record_event())

    def numbers(self) -> list[float]:
        """The numbers, in the order of the scalars."""
        if self.copied is not None:
            self.copied.synchronize()
        numbers: list[float] = self.packed.tolist()
        return numbers
