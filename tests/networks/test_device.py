"""Names of devices become devices that PyTorch's functions take."""

from typing import Never

import pytest
import torch

from resenc_plans.errors import DeviceError
from resenc_plans.networks.device import (
    autocast_to,
    devices_of_processes,
    failures_named,
    find_device,
)
from tests.gpu import pretend_gpus


@pytest.mark.parametrize("name", [None, "cuda", torch.device("cuda")])
def test_a_gpu_has_an_index(
    name: str | torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpus(monkeypatch, 2)
    assert find_device(name) == torch.device("cuda", 0)
    torch.cuda.set_device(find_device(name))


def test_a_gpu_without_an_index_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == torch.device("cuda", 0)


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1)
    with pytest.raises(DeviceError, match=r"'cuda:1': .* finds 1 GPU\."):
        find_device("cuda:1")


@pytest.mark.parametrize("name", ["meta", "privateuseone", "xpu"])
def test_a_device_that_nobody_supports_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"'{name}' is not supported"):
        find_device(name)


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 4)
    assert devices_of_processes(2, "cuda") == ("cuda:0", "cuda:1")
    assert devices_of_processes(8, "cpu") == ("cpu",) * 8
    assert devices_of_processes(1, "cuda:3") == ("cuda:3",)
    with pytest.raises(DeviceError, match=r"8 processes .* PyTorch finds 4 GPUs"):
        devices_of_processes(8, None)


def test_processes_that_nobody_sent_to_the_cpu_say_that_they_are_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices_of_processes(2, "cpu") == ("cpu",) * 2
    assert devices_of_processes(1, None) == ("cpu",)
    assert not caplog.records
    assert devices_of_processes(2, None) == ("cpu",) * 2
    assert caplog.messages == ["There is no GPU here: all 2 processes compute on the CPU."]


@pytest.mark.parametrize("index", [0, 3])
def test_one_gpu_for_several_processes_is_refused(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpus(monkeypatch, 4)
    with pytest.raises(
        DeviceError, match=rf"'cuda:{index}' is one GPU.* CUDA_VISIBLE_DEVICES={index},"
    ):
        devices_of_processes(2, f"cuda:{index}")


def test_without_mixed_precision_there_is_no_context_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> Never:
        raise RuntimeError("unsupported autocast device_type 'mps'")

    monkeypatch.setattr(torch, "autocast", refuse)
    with autocast_to(None, torch.device("mps")):
        assert (torch.ones(2) @ torch.ones(2)).dtype == torch.float32
    monkeypatch.undo()
    with autocast_to(torch.bfloat16, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


LOST = (
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported."
)


def test_a_device_that_has_failed_is_told_in_words() -> None:
    gpu = torch.device("cuda", 0)
    with (
        pytest.raises(DeviceError, match=r"cuda:0: has failed.*launch failure\).*Try again\.$"),
        failures_named(gpu, "Try again."),
    ):
        raise RuntimeError(LOST)
    for other in ("CUDA error: out of memory", "The size of tensor a (3) must match"):
        with pytest.raises(RuntimeError, match=other[:10]), failures_named(gpu, "Try again."):
            raise RuntimeError(other)
