from pathlib import Path

import pytest

from resenc_plans.errors import UsageError
from resenc_plans.execution import cpus
from resenc_plans.execution.cases import each_case
from resenc_plans.execution.cpus import checked_workers, cpu_quota, usable_cpus
from resenc_plans.execution.pipeline import Pipeline
from resenc_plans.execution.processes import LocalWorkers


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "proc_self_cgroup"


@pytest.mark.parametrize("text", ["max 100000", "", "0 0", "a lot"])
def test_no_limit_is_none(tmp_path: Path, membership: Path, text: str) -> None:
    write(membership, "0::/")
    write(tmp_path / "cpu.max", text)
    assert cpu_quota(tmp_path, membership) is None


def test_a_container_sees_its_limit_at_the_root(tmp_path: Path, membership: Path) -> None:
    write(membership, "0::/")
    write(tmp_path / "cpu.max", "250000 100000")
    assert cpu_quota(tmp_path, membership) == 2.5


def test_the_smallest_limit_above_a_group_holds(tmp_path: Path, membership: Path) -> None:
    write(membership, "0::/jobs/17/step")
    write(tmp_path / "jobs/17/step/cpu.max", "max 100000")
    write(tmp_path / "jobs/17/cpu.max", "400000 100000")
    write(tmp_path / "jobs/cpu.max", "1600000 100000")
    assert cpu_quota(tmp_path, membership) == 4


def test_version_1_has_files_of_other_names(tmp_path: Path, membership: Path) -> None:
    write(membership, "4:memory:/a\n1:cpu,cpuacct:/a\n0::/")
    write(tmp_path / "cpu/a/cpu.cfs_quota_us", "300000")
    write(tmp_path / "cpu/a/cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path, membership) == 3
    write(tmp_path / "cpu/a/cpu.cfs_quota_us", "-1")
    assert cpu_quota(tmp_path, membership) is None


def test_without_control_groups_there_is_no_limit(tmp_path: Path, membership: Path) -> None:
    assert cpu_quota(tmp_path, membership) is None


def test_there_is_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1


def test_a_container_s_quota_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpu_quota", lambda: 0.5)
    assert usable_cpus() == 1


def test_workers_are_checked_against_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resenc_plans.execution.cpus.usable_cpus", lambda: 2)
    assert checked_workers(1) == 1
    assert checked_workers(32) == 32
    for workers in (0, -1, 33, 100_000, 10**5000):
        with pytest.raises(UsageError, match=r"`workers=` .*from 1 to 32 .* 2 CPUs"):
            checked_workers(workers)
    monkeypatch.setattr("resenc_plans.execution.cpus.usable_cpus", lambda: 100)
    assert checked_workers(400) == 400


def test_neither_processes_nor_threads_are_started_beyond_that() -> None:
    with pytest.raises(UsageError):
        LocalWorkers(100_000)
    with pytest.raises(UsageError):
        each_case(str, ["a"], workers=100_000)
    with pytest.raises(UsageError):
        list(Pipeline(str, lambda case, _: case, lambda *_: None, workers=100_000).run(["a"]))
