import builtins
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from resenc_plans import MachineReport, examine_machine
from resenc_plans.networks.baselines import selective_scan
from resenc_plans.profiling import doctor
from tests.execution.test_gpus import GPU, PROCESSES, nvidia_smi
from tests.gpu import pretend_gpus

__all__ = ["nvidia_smi"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without nvidia-smi and without any of the variables."""
    for variable in doctor.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def rules(report: MachineReport) -> dict[str, str]:
    return {finding.rule: finding.severity for finding in report.findings}


def test_a_machine_without_a_gpu_is_no_error() -> None:
    report = examine_machine()
    assert report.gpus is None
    assert rules(report)["no-gpu"] == "note"
    assert not report.has_errors
    assert report.cpus >= 1
    assert report.versions["torch"] == torch.__version__
    assert report.torch is not None
    assert report.convolution is not None
    assert report.convolution.device == "cpu"
    assert report.convolution.seconds > 0


def test_slow_builds_of_torch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    report = examine_machine()
    assert rules(report)["slow-convolutions"] == "warning"
    assert report.torch is not None
    assert report.torch.cudnn == "9.10.2"


def test_a_gpu_that_others_use_is_named_with_who_does(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(GPU, *PROCESSES)
    report = examine_machine()
    [used] = [finding for finding in report.findings if finding.rule == "gpu-in-use"]
    assert "GPU 0 (NVIDIA H100 80GB HBM3): 1.5 of 79.6 GiB" in used.message
    assert "python (process 72)" in used.message


@pytest.mark.parametrize(
    ("variable", "rule", "part"),
    [(None, "unusable-gpus", "driver 580.159.04"), ("", "hidden-gpus", "CUDA_VISIBLE_DEVICES")],
)
def test_gpus_that_torch_does_not_see_have_a_reason(
    nvidia_smi: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    rule: str,
    part: str,
) -> None:
    nvidia_smi(GPU)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    [finding] = [f for f in examine_machine().findings if f.rule == rule]
    assert finding.severity == "warning"
    assert part in finding.message


def test_little_shared_memory_is_named_with_the_option_of_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    [finding] = [f for f in examine_machine().findings if f.rule == "shared-memory"]
    assert "64 MiB" in finding.message
    assert "--shm-size" in finding.message


def test_a_full_disk_of_results_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    report = examine_machine()
    assert rules(report)["disk"] == "warning"
    assert str(tmp_path) in [room.folder for room in report.rooms]


def test_a_variable_that_names_no_folder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "missing"))
    report = examine_machine()
    assert rules(report)["folder"] == "error"
    assert report.has_errors


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def failing(name: str, *arguments: Any) -> Any:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return genuine(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", failing)
    report = examine_machine()
    assert report.torch is None
    assert report.convolution is None
    assert rules(report)["torch"] == "error"


def test_a_convolution_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED\nmore")

    monkeypatch.setattr(torch.nn, "Conv3d", Broken)
    report = examine_machine()
    [finding] = [f for f in report.findings if f.rule == "convolution"]
    assert "CUDNN_STATUS_NOT_INITIALIZED" in finding.message
    assert "more" not in finding.message


def test_a_gpu_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA unknown error - this may be due to an environment\nmore")

    pretend_gpus(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    monkeypatch.setattr(torch.cuda, "current_device", fail)
    monkeypatch.setattr(torch.backends.cudnn, "version", fail)
    report = examine_machine()
    assert report.torch is not None
    assert report.torch.sees_gpus == ("no answer",)
    assert report.torch.cudnn is None
    [finding] = [f for f in report.findings if f.rule == "convolution"]
    assert "CUDA unknown error" in finding.message


def test_it_says_whether_mamba_ssm_s_kernel_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_convolution", lambda *_: None)
    for found in (None, lambda *tensors: tensors[0]):
        monkeypatch.setattr(selective_scan, "_FOUND", {"kernel": found})
        expected = "torch" if found is None else "mamba_ssm"
        assert examine_machine().selective_scan == expected


def test_json_holds_what_the_call_returns() -> None:
    from dataclasses import asdict

    document = json.loads(json.dumps(asdict(examine_machine()), default=str))
    assert {"gpus", "torch", "rooms", "environment", "findings"} <= set(document)
