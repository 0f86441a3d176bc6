"""A few real training steps on a GPU: how much memory they take and how long they last.

What `resenc_plans.cost` estimates is measured here: the step of `Trainer`, with its loss,
optimizer, precision and compilation.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from resenc_plans.errors import DeviceError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.profiling.trace import background
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.ranks import Ranks
from resenc_plans.training.step import TrainingStep, image_type, is_compiled

WARM_UP, TIMED = 3, 5
"""Steps before and while time is taken; the first ones choose algorithms and make momentum."""


class Gpu(Protocol):
    """The device that steps run on, and the state of its memory; all sizes in bytes."""

    name: str
    device: torch.device

    def start(self) -> None:
        """Forget earlier peaks."""
        ...

    def wait(self) -> None:
        """Return when the device has done all its work."""
        ...

    def allocated(self) -> int:
        """The most that tensors have taken."""
        ...

    def reserved(self) -> int:
        """The most that the allocator has taken from the device."""
        ...

    def used(self) -> int:
        """The memory that all programs take now, as nvidia-smi shows it."""
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
            raise DeviceError(
                "Measuring needs a CUDA GPU, and torch sees none here. The estimate needs no GPU."
            )
        self.device = torch.device("cuda", 0)
        self.name = torch.cuda.get_device_name(self.device)

    def start(self) -> None:
        """Release the memory of earlier steps, and reset the peaks."""
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
    ConfigurationError, NetworkError
        As `build_network`.
    DeviceError
        The GPU has too little memory for a step.
    """
    gpu.start()
    try:
        settings = config.training or TrainingSettings()
        network = build_network(
            config,
            input_channels,
            output_heads,
            settings.deep_supervision,
            allow_import=allow_import,
        )
        shape = (config.batch_size, input_channels, *config.patch_size)
        kind = image_type(config, settings, gpu.device)
        images = torch.randn(shape, device=gpu.device).to(kind)
        return _measure(config, network, images, output_heads, gpu, regions=regions)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{config.name}: a training step does not fit into the memory of {gpu.name} "
            f"({gpu.used() / 2**30:.1f} GiB in use). Try a configuration with a smaller batch, "
            f"such as {config.batch_size // 2}."
        ) from error


def _measure(
    config: ResolvedConfiguration,
    network: nn.Module,
    images: Tensor,
    output_heads: int,
    gpu: Gpu,
    *,
    regions: bool,
) -> StepMeasurement:
    settings = config.training or TrainingSettings()
    step = TrainingStep.of(
        network,
        default_loss(config, settings, regions=regions, compiled=is_compiled(settings, gpu.device)),
        settings,
        Ranks(0, 1, gpu.device),
        dim=config.dim,
        scale_weights=resolutions_of(config).weights,
    )
    step.train()
    batch = background(images, output_heads, regions=regions)
    begun = 0.0
    for number in range(WARM_UP + TIMED):
        if number == WARM_UP:
            gpu.wait()
            begun = time.perf_counter()
        step(batch)
    gpu.wait()
    seconds = (time.perf_counter() - begun) / TIMED
    return StepMeasurement(
        gpu=gpu.name,
        torch=torch.__version__,
        allocated_bytes=gpu.allocated(),
        reserved_bytes=gpu.reserved(),
        used_bytes=gpu.used(),
        seconds_per_step=seconds,
    )
