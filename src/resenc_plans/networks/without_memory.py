"""Networks that have shapes and types, but no values: nothing is allocated, nothing computed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


def without_memory(build: Callable[[], nn.Module], fake: FakeTensorMode) -> nn.Module:
    """The network that `build` makes, with fake tensors on the CPU as parameters and buffers.

    It is built on the device `meta` first, and where it needs values, with real parameters, which
    are released.
    """
    try:
        with torch.device("meta"):
            network = build()
    except (RuntimeError, NotImplementedError):
        network = build()
    replaced: dict[Tensor, Tensor] = {}
    for module in network.modules():
        for holder in (module._parameters, module._buffers):
            for name, tensor in holder.items():
                if tensor is not None:
                    if tensor not in replaced:
                        replaced[tensor] = _fake_twin(tensor, fake)
                    holder[name] = replaced[tensor]  # type: ignore[assignment]
    return network


def _fake_twin(tensor: Tensor, fake: FakeTensorMode) -> Tensor:
    with fake:
        twin = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
