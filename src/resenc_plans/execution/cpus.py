"""How many CPUs this process may use, which on a cluster is not how many the machine has."""

import contextlib
import math
import os
from pathlib import Path

from resenc_plans.errors import UsageError, shown
from resenc_plans.execution.cgroups import CGROUP, MEMBERSHIP, group_folders
from resenc_plans.words import counted

MAX_WORKERS = 1024
"""On any machine."""
WORKERS_PER_CPU, WORKERS_ANYWHERE = 4, 32


def usable_cpus() -> int:
    """The number of CPUs that this process may use, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    quota = cpu_quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def checked_workers(workers: int) -> int:
    """`workers`, where this machine can bear so many processes or threads.

    Raises
    ------
    UsageError
        They are fewer than one, or more than `MAX_WORKERS` or than four for each usable CPU; 32 are
        allowed on any machine.
    """
    cpus = usable_cpus()
    most = min(MAX_WORKERS, max(WORKERS_ANYWHERE, WORKERS_PER_CPU * cpus))
    if not 1 <= workers <= most:
        raise UsageError(
            f"`workers=` {shown(workers)}: from 1 to {most} are possible here, where "
            f"{counted(cpus, 'CPU')} may be used."
        )
    return workers


def cpu_quota(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> float | None:
    """CPUs' worth of time that control groups (version 2 or 1) allow this process; None: no limit.

    Docker's `--cpus`, Kubernetes' limits and SLURM's cgroup plugin set it. The smallest limit of
    the group and of those that contain it holds.
    """
    quotas = [
        _quota_of_version_2(folder) if version == 2 else _quota_of_version_1(folder)
        for version, folder in group_folders("cpu", cgroup, membership)
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of_version_2(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    return None


def _quota_of_version_1(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return None if quota <= 0 else quota / period
    return None
