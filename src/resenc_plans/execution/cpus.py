"""How much CPU time a container may take, which the number of CPUs does not tell."""

import contextlib
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cpu_quota(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> float | None:
    """CPUs' worth of time that control groups (version 2 or 1) allow this process; None: no limit.

    Docker's `--cpus`, Kubernetes' limits and SLURM's cgroup plugin set it. The smallest limit of
    the group and of those that contain it holds.
    """
    limits = []
    for controllers, group in _groups(membership):
        if not controllers:
            limits += [_quota_of_version_2(path) for path in _upwards(cgroup, group)]
        elif "cpu" in controllers.split(","):
            limits += [_quota_of_version_1(path) for path in _upwards(cgroup / "cpu", group)]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(membership: Path) -> list[tuple[str, str]]:
    """Controllers (none in version 2) and path of each group that the process is in."""
    with contextlib.suppress(OSError, ValueError):
        rows = [line.split(":", 2) for line in membership.read_text().splitlines()]
        return [(controllers, group.strip("/")) for _, controllers, group in rows]
    return []


def _upwards(root: Path, group: str) -> list[Path]:
    """A group's folder and those above it; within a container the root alone may be visible."""
    folder = root / group
    return [folder, *(above for above in folder.parents if above.is_relative_to(root))]


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
