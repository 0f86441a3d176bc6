import subprocess
from pathlib import Path

import pytest

from resenc_plans.errors import DeviceError
from resenc_plans.execution.memory import free_in_groups, free_memory, installed_gpu_memory


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def limit(folder: Path, limit: str, usage: int, cached: int = 0) -> None:
    write(folder / "memory.max", limit)
    write(folder / "memory.current", str(usage))
    write(folder / "memory.stat", f"anon 5\ninactive_file {cached}")


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    path = tmp_path / "proc_self_cgroup"
    write(path, "0::/jobs/17/step")
    return path


def test_the_smallest_amount_above_a_group_holds(tmp_path: Path, membership: Path) -> None:
    limit(tmp_path / "jobs/17/step", "max", usage=100)
    limit(tmp_path / "jobs/17", "1000", usage=800)
    limit(tmp_path / "jobs", "5000", usage=4000)
    assert free_in_groups(tmp_path, membership) == 200


def test_cached_files_count_as_free(tmp_path: Path, membership: Path) -> None:
    limit(tmp_path, "1000", usage=900, cached=300)
    assert free_in_groups(tmp_path, membership) == 400


def test_version_1_has_files_of_other_names(tmp_path: Path, membership: Path) -> None:
    write(membership, "4:memory:/a\n0::/")
    write(tmp_path / "memory/a/memory.limit_in_bytes", "1000")
    write(tmp_path / "memory/a/memory.usage_in_bytes", "900")
    write(tmp_path / "memory/a/memory.stat", "total_inactive_file 50")
    assert free_in_groups(tmp_path, membership) == 150


def test_without_control_groups_there_is_no_limit(tmp_path: Path, membership: Path) -> None:
    assert free_in_groups(tmp_path, membership) is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux")
def test_free_memory_is_known() -> None:
    free = free_memory()

    assert free is not None
    assert free > 0


def test_the_installed_memory_is_that_of_the_smallest_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '40960\\n24576\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert subprocess.run(["nvidia-smi"], check=True, capture_output=True).stdout
    assert installed_gpu_memory() == 24


def test_without_a_gpu_the_memory_has_to_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="No GPU found"):
        installed_gpu_memory()
