"""What is tried where memory does not suffice; no GPU is needed to see it."""

from typing import Any, Never

import pytest
import torch

from resenc_plans.errors import DeviceError
from resenc_plans.inference.memory import HOST, MemoryUse, memory_uses, predict_within_memory

GPU = torch.device("cuda")


def test_a_gpu_is_asked_for_less_and_less() -> None:
    asked = list(memory_uses(GPU, 12))
    assert asked == [MemoryUse(12, GPU), MemoryUse(3, GPU), MemoryUse(1, GPU), MemoryUse(1, HOST)]
    assert list(memory_uses(HOST, 12)) == [MemoryUse(1, HOST)]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
@pytest.mark.parametrize(("fits", "notes"), [(MemoryUse(1, GPU), 0), (MemoryUse(1, HOST), 1)])
def test_the_first_attempt_that_fits_counts(
    fits: Any,
    notes: int,
    error: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def predict(use: Any) -> Any:
        if use != fits:
            raise error
        return torch.ones(1)

    assert predict_within_memory(GPU, 12, predict) == 1
    assert len(caplog.records) == notes


def test_another_error_is_not_taken_for_a_want_of_memory() -> None:
    def predict(use: Any) -> Never:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        predict_within_memory(GPU, 12, predict)


def test_where_nothing_fits_it_is_said() -> None:
    def predict(use: Any) -> Never:
        raise torch.OutOfMemoryError

    with pytest.raises(DeviceError, match="not enough memory"):
        predict_within_memory(HOST, 2, predict)
