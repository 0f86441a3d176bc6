"""One training step: forward pass, loss, gradients, clipping, a step of the optimizer.

`Trainer` trains by it, and `resenc_plans.profiling` measures it.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from resenc_plans.errors import DeviceError, TrainingError
from resenc_plans.networks.activation_checkpointing import checkpoint_activations
from resenc_plans.networks.device import autocast_to, configure_cudnn, find_precision
from resenc_plans.networks.shallow_maps import pad_shallow_maps
from resenc_plans.plans.architectures import OtherArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import loss_weights
from resenc_plans.plans.training_settings import SGD, AdamW, Adan, TrainingSettings
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.conditional_steps import can_decide, step_if
from resenc_plans.training.losses import (
    LOWEST_WEIGHT_OF_RANKS,
    DeepSupervision,
    EndedLoss,
    Loss,
    LossOverRanks,
    no_loss,
)
from resenc_plans.training.ranks import ALONE, Ranks
from resenc_plans.training.reading import Reading
from resenc_plans.words import counted

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
"""From the parameters of a network to the optimizer that changes them."""

Forward = Callable[..., Tensor | Sequence[Tensor]]
"""From images to logits, those of all scales where a network has several outputs."""

PATIENCE = 5
"""Batches in a row whose loss or gradients are not finite, after which training stops."""
MIN_SCALE = 1.0
"""A gradient scaler halves its scale at each overflow; below this the scale is not to blame."""


def default_optimizer(
    settings: TrainingSettings, *, foreach: bool | None = None
) -> OptimizerFactory:
    """The optimizer that the settings name.

    `foreach` is whether all parameters are changed at once; None leaves it to torch, which does so
    on CUDA. Where the settings ask for a fused optimizer, it does not count.
    """
    chosen, rate = settings.optimizer, settings.learning_rate
    fused = True if settings.fused_optimizer else None
    foreach = None if fused else foreach
    if isinstance(chosen, SGD):
        return partial(
            torch.optim.SGD,
            lr=rate,
            momentum=chosen.momentum,
            weight_decay=chosen.weight_decay,
            nesterov=chosen.nesterov and chosen.momentum > 0,
            foreach=foreach,
            fused=fused,
        )
    if isinstance(chosen, Adan):
        return partial(
            adan(),
            lr=rate,
            betas=tuple(1 - kept for kept in chosen.betas),
            eps=chosen.eps,
            weight_decay=chosen.weight_decay,
        )
    return partial(
        torch.optim.AdamW if isinstance(chosen, AdamW) else torch.optim.Adam,
        lr=rate,
        betas=chosen.betas,
        eps=chosen.eps,
        weight_decay=chosen.weight_decay,
        amsgrad=chosen.amsgrad,
        foreach=foreach,
        fused=fused,
    )


def adan() -> Callable[..., Optimizer]:
    """The Adan of adan-pytorch, which is nnU-Net's: checkpoints of either continue in the other.

    Its `betas` are the shares that a step replaces.

    Raises
    ------
    TrainingError
        The extra is not installed.
    """
    try:
        from adan_pytorch import Adan as AdanOfPackage
    except ImportError:
        raise TrainingError(
            "The optimizer Adan needs the extra adan: pip install 'resenc-plans[adan]'."
        ) from None
    optimizer: Callable[..., Optimizer] = AdanOfPackage
    return optimizer


def training_precision(settings: TrainingSettings, device: torch.device) -> torch.dtype | None:
    """The type to train in on a device; None for float32.

    Raises
    ------
    DeviceError
        The device cannot train in it.
    """
    name = None if settings.precision == "auto" else settings.precision
    precision = find_precision(name, device)
    if precision is torch.float16 and device.type != "cuda":
        raise DeviceError(
            f"Precision 'fp16': training on {device} has no gradient scaler. Use fp32."
        )
    return precision


def is_compiled(settings: TrainingSettings, device: torch.device) -> bool:
    """Whether the network goes through torch.compile; by default on CUDA, except on Windows."""
    if settings.compile is None:
        return device.type == "cuda" and sys.platform != "win32"
    return settings.compile


def image_type(
    config: ResolvedConfiguration, settings: TrainingSettings, device: torch.device
) -> torch.dtype:
    """The type in which images reach the network of a configuration.

    That of autocast where a convolution is the first to see them, as in nnU-Net's networks: it
    casts them anyway. Another network may compute in float32 before.

    Raises
    ------
    DeviceError
        The device cannot train in this precision.
    """
    precision = training_precision(settings, device)
    if precision is None or isinstance(config.architecture, OtherArchitecture):
        return torch.float32
    return precision


def at_size(target: Tensor, size: Sequence[int]) -> Tensor:
    """A target (b, c, *patch) of the nearest voxels of a smaller one (b, c, *size).

    As `torch.nn.functional.interpolate` with `nearest-exact`, for any type of target.

    >>> at_size(torch.arange(6).view(1, 1, 6), (3,)).tolist()
    [[[1, 3, 5]]]
    """
    for axis, (length, smaller) in enumerate(zip(target.shape[2:], size, strict=True), 2):
        if length == smaller:
            continue
        stride = length // smaller
        if stride * smaller == length:
            target = target[(slice(None),) * axis + (slice(stride // 2, None, stride),)]
        else:
            centres = (torch.arange(smaller, device=target.device) + 0.5) * (length / smaller)
            target = target.index_select(axis, centres.long().clamp(max=length - 1))
    return target.contiguous()


@dataclass(frozen=True)
class Outcome:
    """What the network makes of a batch: the loss with gradients, and both sides of each scale."""

    loss: EndedLoss
    logits: Sequence[Tensor]
    targets: Sequence[Tensor]


@dataclass(frozen=True)
class StepReport:
    """What a step has found."""

    loss: float
    """That of this rank."""
    norm: float
    """Of all gradients, before they were clipped."""
    is_stopped: bool
    """Whether any rank is to stop."""
    mean_loss: float
    """Over all ranks; not finite if that of any is not."""


@dataclass(frozen=True)
class LaunchedStep:
    """A step that the device has been given."""

    reading: Reading
    cases: tuple[str, ...]
    """Those of its batch."""
    marks: list[Any] = field(default_factory=list)
    """Events on a GPU before and after it."""

    def idle_since(self, earlier: "LaunchedStep | None") -> float:
        """Seconds in which the GPU had nothing to do before it; infinite where they are not known.

        Its report has been read before.
        """
        if earlier is None or not (earlier.marks and self.marks):
            return math.inf
        return max(0.0, float(earlier.marks[1].elapsed_time(self.marks[0])) / 1000)

    @cached_property
    def report(self) -> StepReport:
        """What it has found; waits until that is known."""
        loss, norm, stopping, mean = self.reading.numbers()
        return StepReport(loss, norm, stopping > 0, mean)


@dataclass
class TrainingStep:
    """A network and all that changes it.

    Parameters
    ----------
    network
        With the parameters of the optimizer; it runs when it is on `device`, see `to_device`.
    loss
        That of one scale.
    optimizer
        It changes the parameters.
    gradient_clip
        The largest norm of all gradients together; None leaves them as they are.
    autocast
        Makes the context of forward pass and loss.
    ranks
        The device, to which the batches are moved, and who else trains on the same global batch.
    scaler
        Scales the loss, for gradients in float16.
    forward
        Runs the network, such as its compiled form; None runs the network itself.
    make_forward
        Makes `forward` when the network is on the device.
    memory_format
        That of the images.
    scale_weights
        Weights of the outputs' losses, highest resolution first; None weights as nnU-Net does.
    lowest_weight
        nnU-Net's weight of the lowest scale before all weights are normalised, see
        `loss_weights`.
    is_cut
        Whether the graph of the network is cut for several ranks: then each of its outputs needs a
        gradient, be it 0.
    is_read_late
        Whether what a step found is to be read when the next one is launched.
    """

    network: nn.Module
    loss: Loss
    optimizer: Optimizer
    gradient_clip: float | None
    autocast: Callable[[], AbstractContextManager[object]]
    ranks: Ranks = ALONE
    scaler: torch.amp.GradScaler | None = None
    forward: Forward | None = None
    make_forward: Callable[[nn.Module], Forward] | None = None
    memory_format: torch.memory_format = torch.preserve_format
    scale_weights: tuple[float, ...] | None = None
    lowest_weight: float = 0.0
    is_cut: bool = False
    is_read_late: bool = False

    @classmethod
    def of(
        cls,
        network: nn.Module,
        loss: Loss,
        settings: TrainingSettings,
        ranks: Ranks,
        *,
        dim: int,
        scale_weights: tuple[float, ...] | None = None,
        has_unused_parameters: bool = False,
        optimizer: OptimizerFactory | None = None,
    ) -> Self:
        """The step as `Trainer` takes it, for the device of this rank; `to_device` moves it there.

        `dim` is the number of image axes. The settings' `scale_weights` go before those given.
        `has_unused_parameters` is whether some of the network's may get no gradient.

        Raises
        ------
        DeviceError
            The device cannot train in this precision, or this network over several ranks.
        TrainingError
            The network has no blocks for activation checkpointing, or the loss is for another
            number of ranks.
        """
        if isinstance(loss, LossOverRanks) and loss.ranks.world != ranks.world:
            raise TrainingError(
                f"The loss is for {counted(loss.ranks.world, 'process', 'processes')}, but "
                f"{ranks.world} train. Make it with the ranks of the training."
            )
        device = ranks.device
        precision = training_precision(settings, device)
        configure_cudnn(device, allow_tf32=settings.allow_tf32)
        memory_format = _memory_format(dim, device, precision, wanted=settings.channels_last)
        ranks.refuse_batch_norm(network)
        network.to(memory_format=memory_format)  # type: ignore[call-overload]
        if device.type == "cpu" and precision is torch.bfloat16:
            pad_shallow_maps(network)
        if settings.activation_checkpointing:
            checkpoint_activations(network)
        compiled = is_compiled(settings, device)
        scale_weights = settings.scale_weights or scale_weights
        # A graph that knows of DistributedDataParallel is cut where its gradients can be sent
        # while the others are computed; a cut graph takes no activation checkpointing.
        is_cut = compiled and ranks.world > 1 and not settings.activation_checkpointing

        def make_forward(network: nn.Module) -> Forward:
            network = ranks.synchronise_batch_norm(network)
            forward = torch.compile(network) if compiled and not is_cut else network
            if ranks.world > 1:
                forward = DistributedDataParallel(
                    forward,
                    device_ids=[device] if device.type == "cuda" else None,
                    # heads without a loss have no gradient either
                    find_unused_parameters=has_unused_parameters or not settings.deep_supervision,
                )
            return torch.compile(forward) if is_cut else forward

        return cls(
            network=network,
            loss=loss,
            optimizer=(optimizer or default_optimizer(settings))(network.parameters()),
            ranks=ranks,
            gradient_clip=settings.gradient_clip,
            autocast=partial(autocast_to, precision, device),
            scaler=torch.amp.GradScaler("cuda") if precision is torch.float16 else None,
            make_forward=make_forward,
            memory_format=memory_format,
            scale_weights=scale_weights,
            lowest_weight=LOWEST_WEIGHT_OF_RANKS if ranks.world > 1 and not compiled else 0.0,
            is_cut=is_cut,
            is_read_late=device.type == "cuda",
        )

    def to_device(self) -> None:
        """Move network and momenta to the device, and make what runs the network there.

        The first batch does so otherwise. All ranks do it at once.
        """
        if self.make_forward is None:
            return
        before: list[Tensor] = list(self.network.parameters())
        self.network.to(self.device)
        _follow(self.optimizer, dict(zip(before, self.network.parameters(), strict=True)))
        self.forward, self.make_forward = self.make_forward(self.network), None
        self._running.train(self.network.training)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.ranks.device

    def __call__(self, batch: Batch, *, stops: bool = False) -> StepReport:
        """Train on a batch, which all ranks do at once; `stops` is whether this one is to stop.

        Gradients that are not finite change nothing.
        """
        return self.launch(batch, stops=stops).report

    def launch(self, batch: Batch, *, stops: bool = False) -> LaunchedStep:
        """As calling the step, which tells what it found when it is asked.

        A step that `is_read_late` leaves the device to decide whether the gradients are finite, if
        the optimizer allows that (see `can_decide`); then nothing waits for the device.
        """
        began = _mark(self.device)
        loss, norm = self.gradients(batch, stops=stops)
        reading = Reading.begin([loss.own, norm, loss.stopping, loss.mean])
        launched = LaunchedStep(reading, tuple(batch.cases))
        if self.is_read_late and can_decide(self.optimizer):
            step_if(self.optimizer, norm.isfinite())
        # Read before the optimizer's step, during which a GPU may be given the next batch: each
        # read waits until the GPU has done all that it was given.
        elif math.isfinite(launched.report.norm):
            self.optimizer.step()
        if self.scaler:
            self.scaler.update()
        launched.marks.extend(began + _mark(self.device))
        return launched

    def gradients(self, batch: Batch, *, stops: bool = False) -> tuple[EndedLoss, Tensor]:
        """As calling the step, without one of the optimizer: the loss, and the gradients' norm."""
        self.optimizer.zero_grad()
        loss = self.evaluate(batch, stops=stops).loss
        scaler = self.scaler
        (scaler.scale(loss.own) if scaler else loss.own).backward()  # type: ignore[no-untyped-call]
        if scaler:
            scaler.unscale_(self.optimizer)
        clip = math.inf if self.gradient_clip is None else self.gradient_clip
        return loss, clip_grad_norm_(self.network.parameters(), clip)

    def evaluate(self, batch: Batch, *, stops: bool = False) -> Outcome:
        """The loss of a batch, with logits and targets of each scale.

        All ranks do this at once; `stops` is whether this one is to stop.
        """
        self.to_device()
        images = batch.images.to(self.device, non_blocking=True, memory_format=self.memory_format)
        target = batch.target.to(self.device, non_blocking=True)
        with self.autocast():
            output = (self.network if self.forward is None else self.forward)(images)
            logits = [output] if isinstance(output, Tensor) else list(output)
            targets = [at_size(target, scale.shape[2:]) for scale in logits]
            supervise = DeepSupervision(self.loss, self.weights_of(len(logits)), self.ranks)
            loss = supervise(logits, targets, stops=stops)
            if self.is_cut:
                nothing = torch.stack([no_loss(scale) for scale in logits]).sum()
                loss = replace(loss, own=loss.own + nothing)
        return Outcome(loss, logits, targets)

    def weights_of(self, outputs: int) -> tuple[float, ...]:
        """Weights of the losses of so many outputs, highest resolution first.

        Raises
        ------
        TrainingError
            The settings give as many as the network has not.
        """
        if self.scale_weights is None or outputs == 1:
            return loss_weights(outputs, lowest=self.lowest_weight)
        if len(self.scale_weights) != outputs:
            raise TrainingError(
                f"scale_weights has {counted(len(self.scale_weights), 'value')}, but the network "
                f"has {counted(outputs, 'output')}. Give one per output."
            )
        return self.scale_weights

    def train(self) -> None:
        """Let the network behave as in training."""
        self._running.train()

    def eval(self) -> None:
        """Let the network behave as in prediction."""
        self._running.eval()

    @property
    def _running(self) -> nn.Module:
        return self.forward if isinstance(self.forward, nn.Module) else self.network

    @property
    def learning_rate(self) -> float:
        """The rate of the optimizer's first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of all groups of parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def _follow(optimizer: Optimizer, moved: Mapping[Tensor, Tensor]) -> None:
    """Let an optimizer follow its weights to another device, where some backends have new ones."""
    for group in optimizer.param_groups:
        group["params"] = [moved[weight] for weight in group["params"]]
    state = {moved[weight]: kept for weight, kept in optimizer.state.items()}
    optimizer.state.clear()
    optimizer.state.update(state)
    if state:
        optimizer.load_state_dict(optimizer.state_dict())  # which puts momenta beside their weights


def _mark(device: torch.device) -> list[Any]:
    """An event behind all that a GPU has been given; nothing on another device."""
    if device.type != "cuda":
        return []
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return [event]


class BadBatches:
    """Ends a training whose losses or gradients are not finite, before hours are spent on it.

    All ranks count alike, so that they end together.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._cases: list[tuple[str, ...]] = []

    def count(
        self,
        launched: LaunchedStep,
        *,
        scaler: torch.amp.GradScaler | None,
        epoch: int,
    ) -> None:
        """Take note of a step, and of its batch's cases that this rank has.

        Raises
        ------
        TrainingError
            Too many in a row were not finite; the message names the cases, of all ranks those
            whose loss was not finite, if there are any.
        """
        report, cases = launched.report, launched.cases
        is_bad = not math.isfinite(report.mean_loss)
        if not is_bad and (math.isfinite(report.norm) or _is_overflow(scaler)):
            self._cases = []
            return
        is_suspect = not is_bad or not math.isfinite(report.loss)
        self._cases.append(cases if is_suspect else ())
        if len(self._cases) >= PATIENCE:
            own = {name for batch in self._cases for name in batch}
            names = ", ".join(sorted(self._ranks.union(own)))
            raise TrainingError(
                f"Epoch {epoch}: loss or gradients were not finite in {PATIENCE} batches in a row; "
                f"training stops, the last checkpoint is good. Cases: {names}. Look at their "
                "images, or use another precision or a lower learning rate."
            )


def _is_overflow(scaler: torch.amp.GradScaler | None) -> bool:
    """Whether a gradient that is not finite may be due to the scale, which has fallen by now."""
    return scaler is not None and scaler.get_scale() >= MIN_SCALE


def _memory_format(
    dim: int, device: torch.device, precision: torch.dtype | None, *, wanted: bool
) -> torch.memory_format:
    """bfloat16 on a CPU is faster with channels last; all else is as in nnU-Net, unless wanted."""
    if not wanted and (device.type != "cpu" or precision is None):
        return torch.preserve_format
    return torch.channels_last_3d if dim == 3 else torch.channels_last
