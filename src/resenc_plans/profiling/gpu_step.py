"""A few real training steps on a GPU: how much memory they take and how long they last.

What `resenc_plans.cost` estimates is measured here: the same step as `networks.trace` runs on fake
tensors, with fp16 autocast and a gradient scaler, as nnU-Net trains on CUDA.
"""

import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from resenc_plans.errors import ConfigurationError, ResencPlansError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.device import try_all_kernels
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.profiling.trace import (
    as_list,
    deep_supervision_loss,
    label_loss,
    region_loss,
    zero_target,
)

WARM_UP, TIMED = 3, 5
"""Steps before and while time is taken; the first ones choose algorithms and make momentum."""


class Gpu(Protocol):
    """The device that steps run on, and what it says of its memory; all sizes in bytes."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Half precision for the forward pass and the loss."""
        ...

    def start(self) -> None:
        """Forget earlier peaks."""
        ...

    def wait(self) -> None:
        """Return when all that was asked of the device is done."""
        ...

    def allocated(self) -> int:
        """The most that tensors have taken."""
        ...

    def reserved(self) -> int:
        """The most that the allocator has taken from the device."""
        ...

    def used(self) -> int:
        """What is taken of the device's memory now by all programs, as nvidia-smi shows it."""
        ...


@dataclass(frozen=True)
class StepMeasurement:
    """What training steps took on a GPU; sizes in bytes."""

    gpu: str
    torch: str
    allocated_bytes: int
    reserved_bytes: int
    used_bytes: int
    seconds_per_step: float


class CudaGpu:
    """The first GPU that torch sees."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise ResencPlansError(
                "--measure needs a CUDA GPU, and torch sees none here. The estimate needs no GPU: "
                "leave --measure away."
            )
        self.device = torch.device("cuda", 0)
        self.name = torch.cuda.get_device_name(self.device)
        try_all_kernels(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """CUDA's, with fp16."""
        return torch.autocast("cuda", torch.float16)

    def start(self) -> None:
        """Give back what earlier steps left, and begin anew."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def wait(self) -> None:
        """Synchronise."""
        torch.cuda.synchronize(self.device)

    def allocated(self) -> int:
        """By the statistics of torch's allocator."""
        return torch.cuda.max_memory_allocated(self.device)

    def reserved(self) -> int:
        """By the statistics of torch's allocator."""
        return torch.cuda.max_memory_reserved(self.device)

    def used(self) -> int:
        """By the driver, with CUDA's context and other programs."""
        free, total = torch.cuda.mem_get_info(self.device)
        return total - free


def measure_configuration(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    gpu: Gpu,
    *,
    regions: bool = False,
    allow_import: Collection[str] = (),
) -> StepMeasurement:
    """Train a configuration's network for a few steps on noise, at its batch and patch size.

    Raises
    ------
    ConfigurationError
        As `build_network`, or the GPU has too little memory for a step.
    """
    gpu.start()
    try:
        return _measure(config, input_channels, output_heads, gpu, regions, allow_import)
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(
            f"{config.name}: a training step does not fit into the memory of {gpu.name} "
            f"({gpu.used() / 2**30:.1f} GiB in use). Try a smaller batch: "
            f"resenc-plans derive --from {config.name} --batch-size {config.batch_size // 2}."
        ) from error


def _measure(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    gpu: Gpu,
    regions: bool,
    allow_import: Collection[str],
) -> StepMeasurement:
    network = build_network(config, input_channels, output_heads, allow_import=allow_import)
    network.to(gpu.device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), 0.01, 0.99, weight_decay=3e-5, nesterov=True, foreach=True
    )
    scaler = torch.amp.GradScaler(gpu.device.type)
    image = torch.randn((config.batch_size, input_channels, *config.patch_size), device=gpu.device)
    targets: list[Tensor] | None = None
    begun = 0.0
    for step in range(WARM_UP + TIMED):
        if step == WARM_UP:
            gpu.wait()
            begun = time.perf_counter()
        with gpu.autocast():
            logits = as_list(network(image))
            if targets is None:
                targets = [
                    zero_target(scale.shape, output_heads, regions).to(gpu.device)
                    for scale in logits
                ]
            loss = region_loss if regions else label_loss
            value = deep_supervision_loss(loss, logits, targets)
        scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        clip_grad_norm_(network.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        del logits, value
    gpu.wait()
    seconds = (time.perf_counter() - begun) / TIMED
    return StepMeasurement(
        gpu.name, torch.__version__, gpu.allocated(), gpu.reserved(), gpu.used(), seconds
    )
