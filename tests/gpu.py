"""A real GPU where there is one, and a pretended one, whose first kernel fails."""

import pytest
import torch

DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0",
        id="cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    ),
]
"""Where a test runs that is to run on a GPU too: there with RESENC_PLANS_GPU=1 and `-k cuda`."""
NO_KERNEL = "Torch not compiled with CUDA enabled"
"""What PyTorch for CPUs says when something is to be computed on a GPU."""


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int = 1) -> list[int]:
    """Let PyTorch find so many GPUs; returns the list that current devices are added to."""
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", current.append, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # both are reset after the test
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    return current
