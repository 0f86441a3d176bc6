"""A device in Python for PyTorch's `PrivateUse1` slot: on the CPU, but as strict as a GPU.

Its tensors lie in the host's memory and are computed there, so results are the CPU's bit for bit.
An operator that mixes them with tensors of the CPU fails, as it would on a GPU, so that forgotten
transfers are found without one. PyTorch's slot is taken for the whole process: tests use the
stand-in in a process of its own (`run_on_stand_in.py`).
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"

_TRANSFERS = {"aten::copy_", "aten::_to_copy"}
_WITH_INDICES_OF_THE_CPU = {"aten::index", "aten::index_put_"}
"""These take indices that lie on the CPU, on a GPU too."""
_FACTORIES = (
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.arange.start_step,
    torch.ops.aten.arange.start,
)
"""Operators that make tensors without taking any; PyTorch makes the others out of these."""


class OnStandIn(Tensor):
    """A tensor of the stand-in; `host` has its values."""

    host: Tensor

    @staticmethod
    def __new__(cls: type[Self], host: Tensor) -> Self:
        tensor: Self = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(NAME, 0),
        )
        return tensor

    def __init__(self, host: Tensor) -> None:
        self.host = host

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.host.__reduce_ex__(protocol)  # a checkpoint is loaded to the CPU first

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name, device = func._schema.name, kwargs.get("device")
        if name not in _TRANSFERS | _WITH_INDICES_OF_THE_CPU:
            _refuse_others(name, tree_leaves((args, kwargs)))
        on_host = tree_map_only(OnStandIn, lambda tensor: tensor.host, kwargs)
        if device is not None:
            on_host["device"] = "cpu"
        result = func(*tree_map_only(OnStandIn, lambda tensor: tensor.host, args), **on_host)
        goes_to_cpu = device is not None and torch.device(device).type == "cpu"
        if goes_to_cpu or (name == "aten::copy_" and not isinstance(args[0], OnStandIn)):
            return result
        result = tree_map_only(Tensor, OnStandIn, result)
        return return_and_correct_aliasing(func, args, kwargs, result)


def _refuse_others(name: str, arguments: list[Any]) -> None:
    """A GPU takes tensors of the CPU only where they are single numbers."""
    for argument in arguments:
        if isinstance(argument, Tensor) and not isinstance(argument, OnStandIn) and argument.ndim:
            shape = "x".join(map(str, argument.shape))
            raise RuntimeError(f"{name}: a tensor of {shape} has not been moved to {NAME}")


def register_stand_in() -> torch.library.Library:
    """Make the device known; it is while the library that this returns is referred to."""
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")
    for factory in _FACTORIES:
        library.impl(factory, _made_by(factory), "PrivateUse1")
    library.impl(torch.ops.aten._copy_from.default, _copy, "PrivateUse1")
    return library


def _made_by(factory: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(*args: Any, device: object = None, pin_memory: object = None, **kwargs: Any) -> Tensor:
        return OnStandIn(factory(*args, device="cpu", **kwargs))

    return make


def _copy(source: Tensor, target: OnStandIn, _: bool = False) -> Tensor:
    target.host.copy_(source.host if isinstance(source, OnStandIn) else source)
    return target
