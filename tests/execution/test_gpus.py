from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans.execution.gpus import installed_gpus

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
    gpus = installed_gpus()
    assert gpus is not None
    [gpu] = gpus
    assert (gpu.index, gpu.name, gpu.driver) == (0, "NVIDIA H100 80GB HBM3", "580.159.04")
    assert (gpu.total_bytes, gpu.used_bytes) == (81559 * 2**20, 1559 * 2**20)
    assert [process.pid for process in gpu.processes] == [71, 72]
    assert [process.memory_bytes for process in gpu.processes] == [1500 * 2**20, None]
    assert gpu.processes[0].name == "/usr/bin/python, with a comma"


def test_processes_of_other_gpus_are_not_this_ones(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(GPU, "GPU-bb, 71, 1500, python")
    gpus = installed_gpus()
    assert gpus is not None
    assert gpus[0].processes == ()


def test_without_nvidia_smi_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_gpus() is None


def test_an_answer_that_makes_no_sense_is_no_knowledge(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi("NVIDIA-SMI has failed")
    assert installed_gpus() is None
