"""A pretended GPU: PyTorch says that there is one, and its first kernel fails."""

import pytest
import torch

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
