"""A GPU without a GPU: tensors of `cuda:0` that have shapes and types, but no values.

PyTorch's fake tensors refuse operators that mix devices or types as a GPU does, under CUDA's rules
of mixed precision. What only a driver can do is left out: streams, events, pinned memory. They
change the whole process: tests use them in a process of its own (`step_on_fake_gpu.py`).
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FAKE_GPU = torch.device("cuda", 0)
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_CUDA, _META = 1, 14
"""Of `c10::DeviceType`."""


class _Event:
    """An event that has always come."""

    def __init__(self, **_: Any) -> None:
        pass

    def record(self, _: object) -> None:
        """Nothing runs."""


class _Stream:
    """A stream on which nothing runs."""

    def record_event(self) -> _Event:
        """An event that has come."""
        return _Event()


def install_fake_gpu() -> None:
    """Let this process take fake tensors of CUDA."""
    # A build for CPUs has nothing that says which GPU is the current one; the device `meta` has.
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(library, _REGISTRY)
    guards[_CUDA] = guards[_META]
    torch.cuda.is_available = lambda: True
    torch.cuda.is_bf16_supported = lambda **_: True
    vars(torch.cuda)["Event"] = _Event
    vars(torch.cuda)["current_stream"] = lambda _: _Stream()
    nn.Module.to = lambda network, *_, **__: network  # type: ignore[method-assign,assignment]


def put_on_fake_gpu(network: nn.Module) -> None:
    """Give a network fake parameters on the GPU, within a `FakeTensorMode`; `to` cannot."""
    moved: dict[Tensor, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight not in moved:
                moved[weight] = nn.Parameter(torch.empty(weight.shape, device=FAKE_GPU))
            module._parameters[name] = None if weight is None else moved[weight]
