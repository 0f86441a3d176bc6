"""What a training step of any network costs, by a trace with fake tensors on the CPU.

No memory is taken and nothing is computed: torch runs the step on tensors that have a shape and a
type only, and a counter adds up the storages that are alive. The step is that of `Trainer`, each
operator in the precision that CUDA's autocast gives it. The second of two steps counts, when there
is momentum.

The bytes are a floor. The allocator rounds and fragments, kernels need space to work in, and CUDA's
context comes on top.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from resenc_plans.cost.calibration import PUBLISHED, Calibration
from resenc_plans.cost.estimate import ITERATIONS, MIN_TIMED_STEP
from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.build import build_network
from resenc_plans.networks.without_memory import without_memory
from resenc_plans.plans.configuration import ResolvedConfiguration, expect_resolved
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.profiling.cuda_autocast import cuda_rules
from resenc_plans.profiling.storage_counter import StorageCounter
from resenc_plans.reprs import call
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.defaults import default_loss
from resenc_plans.training.losses import Loss
from resenc_plans.training.step import TrainingStep, default_optimizer


@dataclass(frozen=True)
class TraceCost:
    """What one training step costs.

    `parameters` is a count. `activation_bytes` are held when the forward pass is over, beside
    parameters, momentum, images and targets. `peak_bytes` is the most that is alive at any time,
    everything together. `flops` are the floating-point operations of convolutions and matrix
    products, forward and backward, two per multiply-add. `bytes_moved` are what all operators read
    and write.

    `expected_gpu_memory_gb` and `expected_hours` (of nnU-Net's 1000 epochs) follow from these by
    the calibration of nnU-Net's U-Nets, as if the network were one. No figure of another network
    went into it; docs/cost.md compares them with those that are published. The hours are None for
    several GPUs, whose communication is not known, and for steps so short that the data's way to
    the GPU decides.
    """

    parameters: int
    activation_bytes: int
    peak_bytes: int
    flops: int
    bytes_moved: int
    expected_gpu_memory_gb: float
    expected_hours: float | None

    def __repr__(self) -> str:
        return call("TraceCost", vars(self))


def trace_cost(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    gpus: int = 1,
    regions: bool = False,
    loss: Loss | None = None,
    allow_import: Collection[str] = (),
    calibration: Calibration = PUBLISHED,
) -> TraceCost:
    """What a training step of a configuration costs on the GPU with the largest share of its batch.

    Parameters
    ----------
    config
        Of any network.
    input_channels, output_heads
        Channels of the images and of the logits: labels with the background, or regions.
    gpus
        Among which the batch is split.
    regions
        Whether the targets are regions, and the loss has binary cross-entropy.
    loss
        That of one scale; by default the one that `Trainer` takes.
    allow_import
        Modules whose networks the plans may name (see `build_network`).
    calibration
        From counts to GPU memory and hours.

    Raises
    ------
    ConfigurationError
        As `build_network`, the patch is too small for the network, or the batch for the GPUs.
    UsageError
        `config` is not a resolved configuration.
    """
    expect_resolved(config)
    if not 1 <= gpus <= config.batch_size:
        raise ConfigurationError(
            f"{config.name}: batch_size {config.batch_size} cannot be split over {gpus} GPUs."
        )
    build = partial(
        build_network,
        config,
        input_channels,
        output_heads,
        (config.training or TrainingSettings()).deep_supervision,
        allow_import=allow_import,
    )
    shape = (-(-config.batch_size // gpus), input_channels, *config.patch_size)
    settings = config.training or TrainingSettings()
    try:
        traced = trace_network(
            build,
            shape,
            output_heads,
            loss or default_loss(config, settings, regions=regions),
            regions=regions,
            settings=settings,
            scale_weights=resolutions_of(config).weights,
            calibration=calibration,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"{config.plans.source}: {config.name}: the network does not run on a patch of "
            f"{' x '.join(map(str, config.patch_size))}: {error}"
        ) from error
    return traced if gpus == 1 else replace(traced, expected_hours=None)


def trace_network(
    build: Callable[[], nn.Module],
    input_shape: Sequence[int],
    output_heads: int,
    loss: Loss,
    *,
    regions: bool = False,
    settings: TrainingSettings | None = None,
    scale_weights: tuple[float, ...] | None = None,
    half_precision: bool = True,
    real: bool = False,
    calibration: Calibration = PUBLISHED,
) -> TraceCost:
    """What a training step costs with the network that `build` makes.

    Parameters
    ----------
    build
        Makes the network; tried on the device `meta` first, and where it needs values, with real
        parameters, which are released before the trace.
    input_shape
        (batch, channels, *patch).
    output_heads
        Channels of the logits: labels with the background, or regions.
    loss
        That of one scale.
    regions
        Whether the targets are regions.
    settings
        Name the optimizer, clipping and activation checkpointing; None stands for the defaults.
    scale_weights
        Of the network's outputs, where the settings name none.
    half_precision
        Whether CUDA's autocast applies, as on a GPU.
    real
        Compute with real tensors on the CPU instead, slowly, to check the trace.
    calibration
        From counts to GPU memory and hours.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    network = build() if real else without_memory(build, fake)
    network.train()
    settings = settings or TrainingSettings()
    if settings.activation_checkpointing:
        checkpoint_activations(network)
    tensors = nullcontext() if real else fake
    with tensors:
        images = torch.zeros(tuple(input_shape))
        batch = background(images, output_heads, regions=regions)
    step = TrainingStep(
        network=network,
        loss=loss,
        optimizer=default_optimizer(settings, foreach=True)(network.parameters()),
        gradient_clip=settings.gradient_clip,
        autocast=nullcontext,
        scale_weights=settings.scale_weights or scale_weights,
    )
    counted = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=counted) as flops:
        step.gradients(batch)
    step.optimizer.step()
    step.optimizer.zero_grad()
    counter = StorageCounter()
    kept = [
        value
        for state in step.optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    tensors_before = (*network.parameters(), *network.buffers(), *kept)
    counter.add(batch.images, batch.target, *tensors_before)
    before, activations = counter.live, 0

    def forward(images: Tensor) -> Tensor | Sequence[Tensor]:
        nonlocal activations
        logits: Tensor | Sequence[Tensor] = network(images)
        activations = counter.live - before
        return logits

    rules = cuda_rules() if half_precision else nullcontext(nullcontext)
    with rules as autocast, counter:
        measured = replace(step, forward=forward, autocast=autocast)
        measured.gradients(batch)
        measured.optimizer.step()
    is_timed = counter.moved >= MIN_TIMED_STEP * calibration.reference_bytes
    return TraceCost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        activation_bytes=activations,
        peak_bytes=counter.peak,
        flops=flops.get_total_flops(),
        bytes_moved=counter.moved,
        expected_gpu_memory_gb=calibration.expected_memory_gb(counter.peak),
        expected_hours=calibration.hours(counter.moved, ITERATIONS).expected if is_timed else None,
    )


def _convolution_backward(
    of_result: Sequence[int], images: Sequence[int], weights: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Operations of a convolution's gradients; torch's own formula ignores that there are groups.

    Takes the arguments of `aten.convolution_backward`, tensors as shapes. The gradient of the input
    and that of the weights take as many operations as the convolution itself.
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, required, *_out = (
        rest
    )
    once = conv_flop_count(list(images), list(weights), list(of_result), transposed=transposed)
    return once * sum(map(bool, required[:2]))


def background(images: Tensor, output_heads: int, *, regions: bool) -> Batch:
    """A batch of images whose target is background alone."""
    channels, kind = (output_heads, torch.bool) if regions else (1, torch.int16)
    shape = (len(images), channels, *images.shape[2:])
    return Batch(images, torch.zeros(shape, dtype=kind, device=images.device), ())
