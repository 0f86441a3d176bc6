"""What a training step of any network costs, by a trace with fake tensors on the CPU.

No memory is taken and nothing is computed: torch runs the step on tensors that have a shape and a
type only, and a counter adds up the storages that are alive. The step is nnU-Net's: forward, Dice
and cross-entropy over the scales of deep supervision, backward, clipped gradients, SGD with
Nesterov momentum, each operator in the precision that CUDA's autocast gives it. The second of two
steps counts, when there is momentum.

The bytes are a floor. The allocator rounds and fragments, kernels need space to work in, and CUDA's
context comes on top.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.utils.flop_counter import FlopCounterMode

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.profiling.cuda_autocast import cuda_autocast
from resenc_plans.profiling.storage_counter import StorageCounter

Loss = Callable[[Tensor, Tensor], Tensor]
"""From the logits and the target of one scale to one number."""


@dataclass(frozen=True)
class TraceCost:
    """What one training step costs.

    `parameters` is a count. `activation_bytes` are held when the forward pass is over, beside
    parameters, momentum, images and targets. `peak_bytes` is the most that is alive at any time,
    everything together. `flops` are the floating-point operations of convolutions and matrix
    products, forward and backward, two per multiply-add.
    """

    parameters: int
    activation_bytes: int
    peak_bytes: int
    flops: int


def trace_configuration(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    gpus: int = 1,
    regions: bool = False,
    allow_import: Collection[str] = (),
) -> TraceCost:
    """What a training step of a configuration costs on the GPU with the largest share of its batch.

    Raises
    ------
    ConfigurationError
        As `build_network`, the patch is too small for the network, or the batch for the GPUs.
    """
    if not 1 <= gpus <= config.batch_size:
        raise ConfigurationError(
            f"{config.name}: batch_size {config.batch_size} cannot be split over {gpus} GPUs."
        )
    build = partial(build_network, config, input_channels, output_heads, allow_import=allow_import)
    shape = (-(-config.batch_size // gpus), input_channels, *config.patch_size)
    try:
        return trace_cost(build, shape, output_heads, regions=regions)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"{config.plans.source}: {config.name}: the network does not run on a patch of "
            f"{' x '.join(map(str, config.patch_size))}: {error}"
        ) from error


def trace_cost(
    build: Callable[[], nn.Module],
    input_shape: Sequence[int],
    output_heads: int,
    *,
    regions: bool = False,
    half_precision: bool = True,
    real: bool = False,
) -> TraceCost:
    """What a training step costs with the network that `build` makes.

    Parameters
    ----------
    build
        Makes the network; tried on the device `meta` first, and where it needs values, with real
        parameters, which are given back before the trace.
    input_shape
        (batch, channels, *patch).
    output_heads
        Channels of the logits: labels with the background, or regions.
    regions
        Whether the targets are regions, and the loss has binary cross-entropy.
    half_precision
        Whether CUDA's autocast applies, as in nnU-Net on a GPU.
    real
        Compute with real tensors on the CPU instead, slowly, to check the trace.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    network = build() if real else _without_memory(build, fake)
    network.train()
    tensors = nullcontext() if real else fake
    with tensors:
        image = torch.zeros(tuple(input_shape))
    loss = region_loss if regions else label_loss
    optimizer = torch.optim.SGD(
        network.parameters(), 0.01, 0.99, weight_decay=3e-5, nesterov=True, foreach=True
    )
    with FlopCounterMode(display=False) as flops:
        logits = as_list(network(image))
        with tensors:
            targets = [zero_target(scale.shape, output_heads, regions) for scale in logits]
        deep_supervision_loss(loss, logits, targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    del logits
    counter = StorageCounter()
    momentum = [state["momentum_buffer"] for state in optimizer.state.values()]
    counter.add(image, *targets, *network.parameters(), *network.buffers(), *momentum)
    before = counter.live
    with counter:
        with cuda_autocast() if half_precision else nullcontext():
            logits = as_list(network(image))
            activations = counter.live - before
            value = deep_supervision_loss(loss, logits, targets)
        value.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
    return TraceCost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        activation_bytes=activations,
        peak_bytes=counter.peak,
        flops=flops.get_total_flops(),
    )


def label_loss(logits: Tensor, target: Tensor) -> Tensor:
    """nnU-Net's Dice and cross-entropy of labels, operator by operator.

    DC_and_CE_loss with MemoryEfficientSoftDiceLoss, as it runs without compilation. `target` has
    the shape (batch, 1, *image).
    """
    with torch.no_grad():
        one_hot = logits.new_zeros(logits.shape, dtype=torch.float32)
        one_hot.scatter_(1, target.long(), 1)
    dice = _dice(logits.softmax(1)[:, 1:], one_hot[:, 1:])
    return cross_entropy(logits, target[:, 0].long()) + dice


def region_loss(logits: Tensor, target: Tensor) -> Tensor:
    """nnU-Net's Dice and binary cross-entropy of regions, operator by operator.

    DC_and_BCE_loss, as it runs without compilation. `target` has the shape of the logits.
    """
    dice = _dice(logits.sigmoid(), target.to(torch.float32))
    return binary_cross_entropy_with_logits(logits, target.float()) + dice


def _dice(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    axes = tuple(range(2, probabilities.ndim))
    with torch.no_grad():
        present = one_hot.sum(axes, dtype=torch.float32)
    overlap = (probabilities * one_hot).sum(axes, dtype=torch.float32)
    predicted = probabilities.sum(axes, dtype=torch.float32)
    return -((2 * overlap + 1e-5) / (present + predicted + 1e-5).clamp_min(1e-8)).mean()


def deep_supervision_loss(
    loss: Loss, logits: Sequence[Tensor], targets: Sequence[Tensor]
) -> Tensor:
    """The loss over the scales, each weighing half of the one before, the lowest nothing."""
    used = max(1, len(logits) - 1)
    weights = [2.0**-scale for scale in range(used)]
    total = sum(weights)
    return torch.stack(
        [
            weight / total * loss(*pair)
            for weight, *pair in zip(weights, logits, targets, strict=False)
        ]
    ).sum()


def _without_memory(build: Callable[[], nn.Module], fake: FakeTensorMode) -> nn.Module:
    """A network whose parameters and buffers are fake tensors on the CPU."""
    try:
        with torch.device("meta"):
            network = build()
    except (RuntimeError, NotImplementedError):
        network = build()
    replaced: dict[Tensor, Tensor] = {}
    for module in network.modules():
        for holder in (module._parameters, module._buffers):
            for name, tensor in holder.items():
                if tensor is not None:
                    if tensor not in replaced:
                        replaced[tensor] = _fake_twin(tensor, fake)
                    holder[name] = replaced[tensor]  # type: ignore[assignment]
    return network


def _fake_twin(tensor: Tensor, fake: FakeTensorMode) -> Tensor:
    with fake:
        twin = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin


def zero_target(shape: torch.Size, output_heads: int, regions: bool) -> Tensor:
    """A target of background alone for logits of this shape (batch, heads, *image)."""
    if regions:
        return torch.zeros((shape[0], output_heads, *shape[2:]), dtype=torch.bool)
    return torch.zeros((shape[0], 1, *shape[2:]), dtype=torch.int16)


def as_list(logits: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The logits of each scale, also of a network that knows but one."""
    return [logits] if isinstance(logits, Tensor) else list(logits)
