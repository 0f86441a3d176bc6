"""The control groups of this process: what a container, SLURM or systemd lets it use."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def group_folders(
    controller: Literal["cpu", "memory"], cgroup: Path = CGROUP, membership: Path = MEMBERSHIP
) -> Iterator[tuple[Literal[1, 2], Path]]:
    """Version and folder of each group that limits this process, from its own group upward.

    A limit of any of them holds. In a container often only the root is visible.
    """
    for controllers, group in _memberships(membership):
        if not controllers:
            yield from ((2, folder) for folder in _upward(cgroup, group))
        elif controller in controllers.split(","):
            yield from ((1, folder) for folder in _upward(cgroup / controller, group))


def _memberships(membership: Path) -> list[tuple[str, str]]:
    """Controllers (none in version 2) and path of each group that the process is in."""
    with contextlib.suppress(OSError, ValueError):
        rows = [line.split(":", 2) for line in membership.read_text().splitlines()]
        return [(controllers, group.strip("/")) for _, controllers, group in rows]
    return []


def _upward(root: Path, group: str) -> list[Path]:
    folder = root / group
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]
