"""What is tried where memory does not suffice; no GPU is needed to see it."""

from typing import Never

import pytest
import torch

from resenc_plans.inference.memory_fallback import HOST, Attempt, attempts, first_that_fits

GPU = torch.device("cuda")


def test_a_gpu_is_asked_for_less_and_less() -> None:
    asked = list(attempts(GPU, 12))
    assert asked == [Attempt(12, GPU), Attempt(3, GPU), Attempt(1, GPU), Attempt(1, HOST)]
    assert list(attempts(HOST, 12)) == [Attempt(1, HOST)]


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
@pytest.mark.parametrize(("fits", "notes"), [(Attempt(1, GPU), 0), (Attempt(1, HOST), 1)])
def test_the_first_attempt_that_fits_counts(
    fits, notes: int, error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    told = []

    def predict(attempt):
        if attempt != fits:
            raise error
        return torch.ones(1)

    assert first_that_fits(GPU, 12, predict, told.append) == 1
    assert len(told) == notes


def test_another_error_is_not_taken_for_a_want_of_memory() -> None:
    def predict(attempt) -> Never:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        first_that_fits(GPU, 12, predict)


def test_where_nothing_fits_it_is_said() -> None:
    def predict(attempt) -> Never:
        raise torch.OutOfMemoryError

    with pytest.raises(MemoryError, match="not enough memory"):
        first_that_fits(HOST, 2, predict)
