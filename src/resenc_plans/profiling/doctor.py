"""`examine_machine`: what a training or a prediction would find here, and what would hinder it."""

import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from types import ModuleType

from resenc_plans import __version__
from resenc_plans.datasets.finding import Finding, worst_first
from resenc_plans.errors import FileError
from resenc_plans.execution.cpus import usable_cpus
from resenc_plans.execution.gpus import InstalledGpu, installed_gpus
from resenc_plans.execution.memory import free_memory
from resenc_plans.files import user_path
from resenc_plans.folders import PREPROCESSED, RAW, RESULTS
from resenc_plans.networks.cudnn import cudnn_name, slow_convolutions
from resenc_plans.reprs import card, listed
from resenc_plans.words import counted

PACKAGES = (
    *("torch", "numpy", "scipy", "blosc2", "SimpleITK", "numba"),
    *("batchgeneratorsv2", "acvl-utils", "pydantic", "triton", "monai", "nnunetv2"),
    "mamba-ssm",
)
"""Packages whose versions matter; the last four are optional."""

VARIABLES = (
    *(RAW, PREPROCESSED, RESULTS),
    *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "NVIDIA_TF32_OVERRIDE"),
)
"""Environment variables that change what a training does, or how fast."""

SHARED_MEMORY = Path("/dev/shm")
MIN_SHARED_BYTES = 2**30
"""Less shared memory than this suffices for few worker processes only: docker gives 64 MB."""
MIN_FREE_BYTES = 10 * 2**30
"""Less room than this on a disk ends most preprocessings, and trainings with their checkpoints."""
MAX_FOREIGN_SHARE = 0.1
"""A GPU of whose memory more than this is taken is said to be in use."""

_REPEATS = 5


@dataclass(frozen=True)
class Room:
    """A folder's file system: its size and what is free, in bytes."""

    what: str
    """Such as nnUNet_raw."""
    folder: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class TorchBuild:
    """PyTorch as it is installed here."""

    version: str
    cuda: str | None
    """CUDA that it was built with; None without."""
    cudnn: str | None
    sees_gpus: tuple[str, ...]
    """Names of the GPUs that this process may use, by PyTorch's numbers."""


@dataclass(frozen=True)
class Convolution:
    """A small 3D convolution, forward and backward, on the device that a training would take."""

    device: str
    precision: str
    seconds: float
    """The median of a few."""
    teraflops: float
    """Per second."""


@dataclass(frozen=True)
class MachineReport:
    """What a machine offers to this process.

    Attributes
    ----------
    versions
        Package to version; None where it is not installed.
    torch
        None where PyTorch cannot be imported.
    gpus
        All GPUs of the machine; None where nvidia-smi does not run.
    cpus, cpus_of_machine
        Those that this process may use, and all.
    free_memory_bytes
        What this process may still take; None if unknown.
    rooms
        /dev/shm, and the folders of raw data, preprocessed data and results.
    environment
        Environment variable to value; None where it is not set.
    convolution
        None where it failed.
    selective_scan
        What computes U-Mamba's scan on a GPU: "mamba_ssm", or "torch" where that is not installed
        or cannot be imported; None where PyTorch cannot be imported.
    findings
        What hinders or slows a training, worst first.
    """

    system: str
    python: str
    versions: dict[str, str | None]
    torch: TorchBuild | None
    gpus: tuple[InstalledGpu, ...] | None
    cpus: int
    cpus_of_machine: int
    free_memory_bytes: int | None
    rooms: tuple[Room, ...]
    environment: dict[str, str | None]
    convolution: Convolution | None
    selective_scan: str | None
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        memory, convolution = self.free_memory_bytes, self.convolution
        return card(
            f"MachineReport: {self.system}, Python {self.python}",
            {
                "PyTorch": self.torch.version if self.torch else "cannot be imported",
                "GPUs": listed(gpu.name for gpu in self.gpus or ()) or "none",
                "CPUs": f"{self.cpus} of {self.cpus_of_machine}",
                "free memory": memory and f"{memory / 2**30:.1f} GiB",
                "convolution": convolution and f"{convolution.teraflops:.3g} TFLOP/s",
                "findings": listed(f"{f.severity} {f.rule}" for f in self.findings),
            },
        )

    @property
    def has_errors(self) -> bool:
        """Whether something does not work at all."""
        return any(finding.severity == "error" for finding in self.findings)


def examine_machine() -> MachineReport:
    """Look at this machine as a training would, and time one small convolution.

    Nothing is written, and a machine without a GPU is not an error.
    """
    findings: list[Finding] = []
    gpus = installed_gpus()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    rooms = tuple(_rooms(findings))
    torch = _import_torch(findings)
    build = convolution = scan = None
    if torch is not None:
        build = _build_of(torch)
        findings += _about_torch(torch, build, gpus)
        convolution = _try_convolution(torch, findings)
        scan = _selective_scan()
    findings += _about_gpus(gpus or ())
    return MachineReport(
        system=platform.platform(),
        python=platform.python_version(),
        versions={"resenc-plans": __version__, **{name: _version(name) for name in PACKAGES}},
        torch=build,
        gpus=gpus,
        cpus=usable_cpus(),
        cpus_of_machine=os.cpu_count() or 1,
        free_memory_bytes=free_memory(),
        rooms=rooms,
        environment=environment,
        convolution=convolution,
        selective_scan=scan,
        findings=worst_first(findings),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _import_torch(findings: list[Finding]) -> ModuleType | None:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of CUDA that is missing is an OSError
        text = f"PyTorch cannot be imported: {error}. Install it again (https://pytorch.org)."
        findings.append(Finding("torch", "error", text))
        return None
    return torch


def _build_of(torch: ModuleType) -> TorchBuild:
    cudnn = _cudnn_version(torch)
    return TorchBuild(
        version=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else cudnn_name(cudnn),
        sees_gpus=tuple(_gpu_name(torch, number) for number in range(torch.cuda.device_count())),
    )


def _cudnn_version(torch: ModuleType) -> int | None:
    """As torch counts it; None where there is none, or another than torch was built with."""
    try:
        version: int | None = torch.backends.cudnn.version()
    except RuntimeError:
        return None
    return version


def _gpu_name(torch: ModuleType, number: int) -> str:
    """As torch names it; a GPU that is counted may still not start."""
    try:
        return str(torch.cuda.get_device_name(number))
    except RuntimeError:
        return "no answer"


def _about_torch(
    torch: ModuleType, build: TorchBuild, gpus: tuple[InstalledGpu, ...] | None
) -> Iterator[Finding]:
    slow = slow_convolutions(torch.__version__, _cudnn_version(torch))
    if slow is not None:
        yield Finding("slow-convolutions", "warning", slow)
    if build.sees_gpus:
        return
    if not gpus:
        yield Finding("no-gpu", "note", "There is no GPU that PyTorch can use; CPUs compute.")
    elif os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        text = (
            f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, which hides "
            f"{counted(len(gpus), 'GPU')} from PyTorch. Unset it to train on them."
        )
        yield Finding("hidden-gpus", "warning", text)
    else:
        built = "for CPUs only" if build.cuda is None else f"for CUDA {build.cuda}"
        text = (
            f"nvidia-smi shows {counted(len(gpus), 'GPU')} (driver {gpus[0].driver}), and PyTorch "
            f"sees none: it was built {built}. Install a build that fits the driver "
            "(https://pytorch.org)."
        )
        yield Finding("unusable-gpus", "warning", text)


def _about_gpus(gpus: tuple[InstalledGpu, ...]) -> Iterator[Finding]:
    for gpu in gpus:
        others = [process for process in gpu.processes if process.pid != os.getpid()]
        if others or gpu.used_bytes > MAX_FOREIGN_SHARE * gpu.total_bytes:
            users = ", ".join(f"{process.name} (process {process.pid})" for process in others)
            text = (
                f"GPU {gpu.index} ({gpu.name}): {gpu.used_bytes / 2**30:.1f} of "
                f"{gpu.total_bytes / 2**30:.1f} GiB are in use by {users or 'other programs'}. "
                "Train on another one (CUDA_VISIBLE_DEVICES), or wait."
            )
            yield Finding("gpu-in-use", "warning", text)


def _rooms(findings: list[Finding]) -> Iterator[Room]:
    if SHARED_MEMORY.is_dir():
        usage = shutil.disk_usage(SHARED_MEMORY)
        if usage.free < MIN_SHARED_BYTES:
            text = (
                f"{SHARED_MEMORY} has {_mib(usage.free)} free. Processes that load data pass their "
                "batches through it, and are killed where it is full. Start the container with "
                "docker run --shm-size 8g (or --ipc host), or train with fewer workers."
            )
            findings.append(Finding("shared-memory", "warning", text))
        yield Room("shared memory", str(SHARED_MEMORY), usage.total, usage.free)
    for variable in (RAW, PREPROCESSED, RESULTS):
        value = os.environ.get(variable, "").strip().strip("'\"")
        if not value:
            continue
        try:
            folder = user_path(value)
            is_folder = folder.is_dir()
        except FileError:
            is_folder = False
        if not is_folder:
            text = (
                f"{variable} is set to {value}, which is not a folder. Create the folder or "
                "correct the variable."
            )
            findings.append(Finding("folder", "error", text))
            continue
        usage = shutil.disk_usage(folder)
        if usage.free < MIN_FREE_BYTES and variable != RAW:
            text = f"{variable}: {_mib(usage.free)} are free in {folder}. Make room."
            findings.append(Finding("disk", "warning", text))
        yield Room(variable, str(folder), usage.total, usage.free)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _try_convolution(torch: ModuleType, findings: list[Finding]) -> Convolution | None:
    try:
        return _time_convolution(torch)
    except RuntimeError as error:  # CUDA's and cuDNN's errors, and too little memory
        first_line = str(error).partition("\n")[0]
        text = (
            f"A small 3D convolution failed: {first_line}. PyTorch, its CUDA libraries and the "
            "driver do not fit together, or the GPU is full."
        )
        findings.append(Finding("convolution", "error", text))
        return None


def _selective_scan() -> str:
    from resenc_plans.networks.baselines.selective_scan import fused_kernel

    return "torch" if fused_kernel() is None else "mamba_ssm"


def _time_convolution(torch: ModuleType) -> Convolution:
    """One of a residual U-Net's convolutions, 32 channels and 3x3x3, as training computes it."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    channels, side = (32, 96) if on_gpu else (32, 16)
    layer = torch.nn.Conv3d(channels, channels, 3, padding=1, device=device)
    images = torch.ones((1, channels, side, side, side), device=device, requires_grad=True)

    def step() -> float:
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.float16, enabled=on_gpu):
            loss = layer(images).float().sum()
        loss.backward()
        if on_gpu:
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    step()
    seconds = median(step() for _ in range(_REPEATS))
    operations = 3 * 2 * channels * channels * 27 * side**3  # forward, and both gradients
    return Convolution(
        device=str(device),
        precision="fp16" if on_gpu else "fp32",
        seconds=seconds,
        teraflops=operations / seconds / 1e12,
    )
