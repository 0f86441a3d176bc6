"""How much memory there is: what this process may still take, and what the GPUs have."""

import contextlib
from pathlib import Path

from resenc_plans.errors import DeviceError
from resenc_plans.execution.cgroups import CGROUP, MEMBERSHIP, group_folders
from resenc_plans.execution.gpus import query_nvidia_smi

_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By the version of control groups: the files of limit and usage, and the cache's key in
memory.stat."""


def free_memory() -> int | None:
    """Bytes that this process may still take, within its container's limits; None if unknown."""
    sizes = [size for size in (_free_on_machine(), free_in_groups()) if size is not None]
    return min(sizes, default=None)


def free_in_groups(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that control groups still allow this process; None: no limit.

    The smallest amount of the group and of those that contain it holds. Memory that only caches
    files counts as free.
    """
    sizes = [
        _free_in_group(folder, *_FILES[version])
        for version, folder in group_folders("memory", cgroup, membership)
    ]
    return min((size for size in sizes if size is not None), default=None)


def installed_gpu_memory() -> float:
    """Memory of this machine's GPU in GB as nvidia-smi counts it (GiB); of several, the smallest.

    Raises
    ------
    DeviceError
        There is no nvidia-smi, or it sees no GPU.
    """
    rows = query_nvidia_smi("gpu", "memory.total")
    try:
        return min(float(size) for [size] in rows or ()) / 1024
    except ValueError:
        raise DeviceError(
            "No GPU found: nvidia-smi does not run here or sees none. Give the memory in GB "
            "instead."
        ) from None


def _free_on_machine() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _free_in_group(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # "max", no number, means no limit
        limit = int((folder / limit_file).read_text())
        usage = int((folder / usage_file).read_text())
        rows = (row.split() for row in (folder / "memory.stat").read_text().splitlines())
        cached = next((int(value) for key, value in rows if key == cache_key), 0)
        return max(0, limit - usage + cached)
    return None
