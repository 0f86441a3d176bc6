"""The GPUs of this machine and the programs that use them, as nvidia-smi tells; without torch."""

import contextlib
import ctypes
import functools
import os
import subprocess
from dataclasses import dataclass

_SECONDS = 20
_MIB = 2**20


@dataclass(frozen=True)
class GpuProcess:
    """A program that uses a GPU."""

    pid: int
    memory_bytes: int | None
    """None where the driver does not say."""
    name: str


@dataclass(frozen=True)
class InstalledGpu:
    """A GPU of this machine, whether or not this process may use it."""

    index: int
    name: str
    uuid: str
    """As CUDA_VISIBLE_DEVICES may name it: GPU-…"""
    driver: str
    total_bytes: int
    used_bytes: int
    """By all programs, and by the driver itself."""
    processes: tuple[GpuProcess, ...]
    """Those that the driver shows here; in a container that is often none."""


def named_gpu(device: str | None) -> str:
    """The index in the name of one GPU, as in `cuda:3`; empty for every other device.

    >>> named_gpu("cuda:3"), named_gpu("cuda"), named_gpu("mps:0")
    ('3', '', '')
    """
    kind, _, index = (device or "").partition(":")
    return index if kind == "cuda" else ""


def installed_gpus() -> tuple[InstalledGpu, ...] | None:
    """All GPUs of this machine; None where nvidia-smi does not run, so that nothing is known."""
    rows = query_nvidia_smi("gpu", "index,uuid,driver_version,memory.total,memory.used,name")
    if rows is None:
        return None
    users = query_nvidia_smi("compute-apps", "gpu_uuid,pid,used_memory,process_name") or []
    try:
        processes = [
            (row[0], GpuProcess(int(row[1]), _bytes(row[2]), row[3])) for row in users if row[0]
        ]
        return tuple(
            InstalledGpu(
                index=int(index),
                name=name,
                uuid=uuid,
                driver=driver,
                total_bytes=_bytes(total) or 0,
                used_bytes=_bytes(used) or 0,
                processes=tuple(process for gpu, process in processes if gpu == uuid),
            )
            for index, uuid, driver, total, used, name in rows
        )
    except (IndexError, ValueError):
        return None


def usable_gpus() -> tuple[str, ...]:
    """The GPUs that programs started here may use, as CUDA_VISIBLE_DEVICES names them.

    They are those that it names now, else all; none where nothing is known.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(gpu.uuid for gpu in installed_gpus() or ())
    return tuple(name.strip() for name in chosen.split(",") if name.strip())


def query_nvidia_smi(table: str, fields: str) -> list[list[str]] | None:
    """Rows of one of nvidia-smi's tables, such as "gpu"; None where it does not run.

    `fields` are separated by commas. Only the last one may hold a comma itself.
    """
    command = ["nvidia-smi", f"--query-{table}={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    splits = fields.count(",")
    lines = (line.strip() for line in done.stdout.splitlines())
    return [[cell.strip() for cell in line.split(",", splits)] for line in lines if line]


def _bytes(mebibytes: str) -> int | None:
    """Of a number of MiB; None for such answers as [N/A]."""
    try:
        return round(float(mebibytes) * _MIB)
    except ValueError:
        return None


def energy_of(uuid: str) -> float | None:
    """Joules that a GPU has taken since its driver was loaded; None where NVML does not say.

    `uuid` is that of `InstalledGpu`. What all programs take counts. GPUs older than Volta do not
    count it.
    """
    library = _nvml()
    if library is None:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
        return None
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
        return None
    return millijoules.value / 1000


@functools.cache
def _nvml() -> ctypes.CDLL | None:
    """NVIDIA's management library, which comes with the driver; None where it does not work."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() == 0:
            return library
    return None
