from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.execution import gpus
from resenc_plans.execution.gpus import energy_of, installed_gpus, usable_gpus

GPU = "0, GPU-aa, 580.159.04, 81559, 1559, NVIDIA H100 80GB HBM3"
PROCESSES = ("GPU-aa, 71, 1500, /usr/bin/python, with a comma", "GPU-aa, 72, [N/A], python")


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a program of this name on the path, which prints these lines."""

    def write(gpus: str, *processes: str) -> None:
        program = tmp_path / "nvidia-smi"
        lines = "\n".join(processes)
        program.write_text(
            f"#!/bin/sh\ncase $1 in\n*compute-apps*) echo '{lines}' ;;\n*) echo '{gpus}' ;;\nesac\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return write


def test_gpus_come_with_who_uses_them(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(GPU, *PROCESSES)
    found = installed_gpus()
    assert found is not None
    [gpu] = found
    assert (gpu.index, gpu.name, gpu.driver) == (0, "NVIDIA H100 80GB HBM3", "580.159.04")
    assert (gpu.total_bytes, gpu.used_bytes) == (81559 * 2**20, 1559 * 2**20)
    assert [process.pid for process in gpu.processes] == [71, 72]
    assert [process.memory_bytes for process in gpu.processes] == [1500 * 2**20, None]
    assert gpu.processes[0].name == "/usr/bin/python, with a comma"


def test_processes_of_other_gpus_are_not_this_ones(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(GPU, "GPU-bb, 71, 1500, python")
    found = installed_gpus()
    assert found is not None
    assert found[0].processes == ()


@pytest.mark.parametrize(
    ("chosen", "usable"),
    [(None, ("GPU-aa",)), ("2, GPU-bb", ("2", "GPU-bb")), ("", ()), ("3", ("3",))],
)
def test_programs_may_use_the_gpus_that_this_one_may(
    nvidia_smi: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    usable: tuple[str, ...],
) -> None:
    nvidia_smi(GPU)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert usable_gpus() == usable


def test_without_nvidia_smi_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_gpus() is None


def test_an_answer_that_makes_no_sense_is_no_knowledge(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi("NVIDIA-SMI has failed")
    assert installed_gpus() is None


class PretendedLibrary:
    """NVML with one GPU that has taken 1.5 kJ."""

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, _: Any) -> int:  # noqa: N802
        return 0 if uuid == b"GPU-aa" else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any, energy: Any) -> int:  # noqa: N802
        energy._obj.value = 1_500_000
        return 0


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ctypes.CDLL", lambda _: PretendedLibrary())
    gpus._nvml.cache_clear()
    yield
    gpus._nvml.cache_clear()


@pytest.mark.usefixtures("nvml")
def test_energy_is_counted_in_joules() -> None:
    assert energy_of("GPU-aa") == 1500
    assert energy_of("GPU-bb") is None


def test_without_the_driver_energy_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    gpus._nvml.cache_clear()
    assert energy_of("GPU-aa") is None
    gpus._nvml.cache_clear()
