"""The option --measure of `cost`, and the calibration that follows from what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resenc_plans.cli.render import note, print_table, say

if TYPE_CHECKING:
    from resenc_plans.cost.calibration import Calibration
    from resenc_plans.cost.estimate import Cost
    from resenc_plans.plans.configuration import ResolvedConfiguration
    from resenc_plans.profiling.gpu_step import Gpu, StepMeasurement

_GIB = 2**30


@dataclass(frozen=True)
class Network:
    """What a network is built from, in training."""

    config: "ResolvedConfiguration"
    input_channels: int
    heads: int
    regions: bool


def measurements_file() -> Path:
    """Where measurements of this machine's GPU are kept: the user's folder for settings."""
    return Path(typer.get_app_dir("resenc-plans")) / "gpu_measurements.json"


def calibration_in_use() -> "Calibration":
    """That of this machine's GPU where it was measured, else the published one."""
    from resenc_plans.cost.calibration import PUBLISHED
    from resenc_plans.profiling.local_calibration import calibrate, load_measurements

    measurements = load_measurements(measurements_file())
    return calibrate(measurements) if measurements else PUBLISHED


def find_gpu() -> "Gpu":
    """The GPU that is measured; a DeviceError where there is none."""
    from resenc_plans.profiling.gpu_step import CudaGpu

    return CudaGpu()


def measure_networks(estimated: "Sequence[tuple[Network, Cost]]") -> None:
    """Measure networks, print the figures beside the estimates, and store them."""
    from resenc_plans.profiling.gpu_step import measure_configuration
    from resenc_plans.profiling.local_calibration import Measured, add_measurement

    gpu = find_gpu()
    rows = []
    for network, cost in estimated:
        config = network.config
        note(f"{config.name}: a few training steps on {gpu.name}")
        measured = measure_configuration(
            config, network.input_channels, network.heads, gpu, regions=network.regions
        )
        rows.append(_row(config.name, measured, cost))
        add_measurement(
            measurements_file(),
            Measured(
                gpu=measured.gpu,
                torch=measured.torch,
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                plans=config.plans.name,
                configuration=config.name,
                batch_size=config.batch_size,
                patch_size=config.patch_size,
                counted_peak_bytes=cost.peak_bytes,
                counted_bytes_moved=cost.bytes_moved,
                allocated_bytes=measured.allocated_bytes,
                reserved_bytes=measured.reserved_bytes,
                used_bytes=measured.used_bytes,
                seconds_per_step=measured.seconds_per_step,
            ),
        )
    print_table(
        [
            "configuration",
            "counted (GiB)",
            "allocated (GiB)",
            "reserved (GiB)",
            "nvidia-smi (GiB)",
            "estimate (GB)",
            "seconds per step",
        ],
        rows,
        title=f"Measured on {gpu.name}",
        fixed=7,
    )
    say(
        "Counted and estimate are from before; nvidia-smi's figure holds for all programs on the "
        f"GPU. Kept in {measurements_file()}: `cost` and `create` are calibrated to this GPU from "
        "now on. Remove the file to go back."
    )


def _row(name: str, measured: "StepMeasurement", cost: "Cost") -> list[str]:
    memory = cost.gpu_memory_gb
    return [
        name,
        f"{cost.peak_bytes / _GIB:.2f}",
        f"{measured.allocated_bytes / _GIB:.2f}",
        f"{measured.reserved_bytes / _GIB:.2f}",
        f"{measured.used_bytes / _GIB:.2f}",
        f"{memory.expected:.1f} ({memory.low:.1f}-{memory.high:.1f})",
        f"{measured.seconds_per_step:.3f}",
    ]
