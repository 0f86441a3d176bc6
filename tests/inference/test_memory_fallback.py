"""What is tried where memory does not suffice; no GPU is needed to see it."""

import pytest
import torch

from resenc_plans.inference.memory_fallback import HOST, Attempt, attempts, first_that_fits

GPU = torch.device("cuda")


def test_a_gpu_is_asked_for_less_and_less():
    asked = list(attempts(GPU, 12))
    assert asked == [Attempt(12, GPU), Attempt(3, GPU), Attempt(1, GPU), Attempt(1, HOST)]
    assert list(attempts(HOST, 12)) == [Attempt(1, HOST)]


@pytest.mark.parametrize(("fits", "notes"), [(Attempt(1, GPU), 0), (Attempt(1, HOST), 1)])
def test_the_first_attempt_that_fits_counts(fits, notes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    told = []

    def predict(attempt):
        if attempt != fits:
            raise torch.OutOfMemoryError
        return torch.ones(1)

    assert first_that_fits(GPU, 12, predict, told.append) == 1
    assert len(told) == notes


def test_where_nothing_fits_it_is_said():
    def predict(attempt):
        raise torch.OutOfMemoryError

    with pytest.raises(MemoryError, match="not enough memory"):
        first_that_fits(HOST, 2, predict)
