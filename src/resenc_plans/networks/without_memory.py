"""Networks that have shapes and types, but no values: nothing is allocated, nothing computed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call


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


def call_without_memory(network: nn.Module, shape: Sequence[int], fake: FakeTensorMode) -> Any:
    """What a network returns for images of a shape, as fake tensors; it does not change."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    twins = {name: _fake_twin(tensor, fake) for name, tensor in tensors}
    with fake, torch.no_grad(), torch.random.fork_rng(devices=[]):
        return functional_call(network, twins, (torch.zeros(tuple(shape)),))


def _fake_twin(tensor: Tensor, fake: FakeTensorMode) -> Tensor:
    with fake:
        twin = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
