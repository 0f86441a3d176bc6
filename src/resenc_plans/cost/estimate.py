"""`estimate_cost`: what training and using a configuration takes, before the run, without torch."""

from dataclasses import dataclass

from resenc_plans.cost.calibration import PUBLISHED, Calibration, Range
from resenc_plans.cost.counts import count_flops, count_parameters
from resenc_plans.cost.layers import SizedLayers, layers_of
from resenc_plans.cost.loss_memory import LossKind
from resenc_plans.cost.prediction_memory import InferenceCost, inference_cost
from resenc_plans.cost.training_step import simulate_training_step
from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.configuration import ResolvedConfiguration, expect_resolved
from resenc_plans.reprs import card, rounded

ITERATIONS = 1000 * 250
"""Training steps of nnU-Net's standard schedule."""

MAX_FITTED_HEADS = 16
"""The most heads among the networks that the calibration was fitted to."""

MIN_TIMED_STEP = 0.5
"""The shortest training step, in those of the default preset, whose time bandwidth decides."""


@dataclass(frozen=True)
class Cost:
    """An estimate of what a configuration costs. Per GPU where there are several.

    Attributes
    ----------
    parameters
        Trainable parameters, exact.
    activation_bytes
        What is alive after the network's forward pass, beyond parameters, momentum and the batch.
    peak_bytes
        The most that tensors take in a training step.
    gpu_memory_gb
        What nvidia-smi is expected to show in training (its GB are GiB). Where there are more than
        16 heads, `low` allows for a compiled Dice loss, which keeps less.
    flops
        Floating-point operations of the convolutions in a training step.
    bytes_moved
        Bytes that the operations of a training step read and write.
    relative_time
        Time of a training step in multiples of the default preset's. None outside the family that
        the calibration was fitted to, on several GPUs, whose communication is not known, and where
        it would be under a half: there the data's way to the GPU decides.
    hours
        Time of the standard schedule of 1000 epochs of 250 steps; None as above.
    inference
        Memory to predict and export a case of the median shape.
    is_calibrated
        Whether the network is like those the calibration was fitted to; if not, ranges are wider.
    """

    parameters: int
    activation_bytes: int
    peak_bytes: int
    gpu_memory_gb: Range
    flops: int
    bytes_moved: int
    relative_time: float | None
    hours: Range | None
    inference: InferenceCost
    gpus: int
    batch_size_per_gpu: int
    is_calibrated: bool
    calibration: Calibration

    def __repr__(self) -> str:
        memory, hours = self.gpu_memory_gb, self.hours
        per = "" if self.gpus == 1 else f" on each of {self.gpus} GPUs"
        return card(
            f"Cost of a batch of {self.batch_size_per_gpu}{per}",
            {
                "parameters": f"{self.parameters:,}",
                "GPU memory": f"{memory.expected:.1f} GB ({memory.low:.1f}-{memory.high:.1f})",
                "arithmetic": f"{rounded(self.flops / 1e12)} TFLOP per training step",
                "hours": hours and str(hours),
                "prediction": f"{self.inference.device_bytes / 2**30:.2f} GiB on the GPU",
                "calibration": self.calibration.name,
            },
        )


def estimate_cost(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    gpus: int = 1,
    regions: bool = False,
    calibration: Calibration = PUBLISHED,
) -> Cost:
    """What it costs to train and use one of nnU-Net's U-Nets.

    Counted is a training step as nnU-Net 2.8.1 runs it on CUDA: fp16 autocast, deep supervision,
    Dice with cross-entropy (binary with `regions`), SGD with Nesterov momentum; on several GPUs
    with DistributedDataParallel, the batch split among them.

    `input_channels` are those of the image, in a cascade of the previous stage's labels too;
    `output_heads` are labels with the background, or regions.

    Raises
    ------
    ConfigurationError
        The network is none of nnU-Net's U-Nets, its arguments contradict each other or the patch,
        there are no channels or heads, or fewer samples in a batch than GPUs.
    UsageError
        `config` is not a resolved configuration.
    """
    expect_resolved(config)
    layers = layers_of(config, input_channels, output_heads)
    if not 1 <= gpus <= config.batch_size:
        raise ConfigurationError(
            f"{config.name}: batch_size {config.batch_size} cannot be split over {gpus} GPUs. "
            "It is the batch of all GPUs together, at least one sample for each."
        )
    batch_size = -(-config.batch_size // gpus)
    loss: LossKind = "binary cross-entropy" if regions else "cross-entropy"
    step = simulate_training_step(layers, batch_size, loss, distributed=gpus > 1)
    is_calibrated = gpus == 1 and is_like_presets(config, layers)
    relative_time = step.bytes_moved / calibration.reference_bytes
    low_bytes = step.peak_bytes
    if output_heads > MAX_FITTED_HEADS:
        low_bytes = simulate_training_step(
            layers, batch_size, loss, fused_dice=True, distributed=gpus > 1
        ).peak_bytes
    has_time = is_calibrated and relative_time >= MIN_TIMED_STEP
    return Cost(
        parameters=count_parameters(layers),
        activation_bytes=step.activation_bytes,
        peak_bytes=step.peak_bytes,
        gpu_memory_gb=calibration.memory_gb(low_bytes, step.peak_bytes, is_alike=is_calibrated),
        flops=count_flops(layers, batch_size),
        bytes_moved=step.bytes_moved,
        relative_time=relative_time if has_time else None,
        hours=calibration.hours(step.bytes_moved, ITERATIONS) if has_time else None,
        inference=inference_cost(config, layers, regions=regions),
        gpus=gpus,
        batch_size_per_gpu=batch_size,
        is_calibrated=is_calibrated,
        calibration=calibration,
    )


def is_like_presets(config: ResolvedConfiguration, layers: SizedLayers) -> bool:
    """Whether a network is of the kind whose figures are published.

    3D, at most 16 heads, instance normalisation, an activation in place, no dropout, basic blocks.
    """
    style = layers.style
    return (
        config.dim == 3
        and layers.output_heads <= MAX_FITTED_HEADS
        and style.norm_returns_view
        and style.activation_in_place
        and style.dropout is None
        and all(
            len(block.convolutions) == 2 and block.squeezed is None and not block.stochastic_depth
            for block in layers.blocks()
        )
    )
