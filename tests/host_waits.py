"""Counts where the host waits for a device: each wait leaves a GPU without work to queue."""

from collections import Counter
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_OF_UNKNOWN_SIZE = {"nonzero", "masked_select", "unique", "_unique", "_unique2", "unique_dim"}
"""Operators whose results are as large as the values say, so the host must know these."""
_READING = {"_local_scalar_dense", "is_nonzero", "equal", *_OF_UNKNOWN_SIZE}


class HostWaits(TorchDispatchMode):
    """While entered, counts by operator what makes the host wait for another device.

    That is what reads values (`item`, `bool`, `tolist`, `nonzero`, boolean indices), and what
    copies to or from the CPU without `non_blocking`. `copied` are the bytes that went from the CPU
    to another device, whether the host waited for them or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.copied = 0
        self._new_tensors = _NewTensors(self)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        kind = _kind_of_wait(name, args, kwargs)
        if kind is not None:
            self.counts[kind] += 1
        self.copied += _bytes_from_cpu(name, args, kwargs)
        return func(*args, **kwargs)

    def since(self, earlier: Counter[str]) -> dict[str, int]:
        """What was counted since `counts` was this."""
        return dict(self.counts - earlier)

    def __enter__(self) -> Self:
        self._new_tensors.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._new_tensors.__exit__(*error)


class _NewTensors(TorchFunctionMode):
    """Counts tensors that are made of numbers on a device: no operator shows their copy."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and not _is_on_cpu(made):
            self.waits.counts["copy from the CPU"] += 1
            self.waits.copied += made.nbytes
        return made


def _kind_of_wait(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The operator, with the direction of a copy; None where nothing waits."""
    if name == "_to_copy":
        return _copy(args[0], kwargs.get("device"), is_blocking=not kwargs.get("non_blocking"))
    if name == "copy_":
        is_blocking = not (kwargs.get("non_blocking") or (args[2:] and args[2]))
        return _copy(args[1], args[0].device, is_blocking=is_blocking)
    if name in _READING and not _is_on_cpu(args[0]):
        return name
    if name in ("index", "index_put_", "index_put") and not _is_on_cpu(args[0]):
        indices = [index for index in tree_leaves(args[1]) if isinstance(index, Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return f"{name} of a mask"
        if any(map(_is_on_cpu, indices)):
            return f"{name} from the CPU"
    return None


def _copy(source: Tensor, target: Any, *, is_blocking: bool) -> str | None:
    to_cpu = target is not None and torch.device(target).type == "cpu"
    if target is None or to_cpu == _is_on_cpu(source) or not is_blocking:
        return None
    return "copy to the CPU" if to_cpu else "copy from the CPU"


def _bytes_from_cpu(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Of what an operator copies from the CPU to another device."""
    if name == "_to_copy":
        source, target = args[0], kwargs.get("device")
    elif name == "copy_":
        source, target = args[1], args[0].device
    else:
        return 0
    leaves = target is not None and torch.device(target).type != "cpu" and _is_on_cpu(source)
    return int(source.nbytes) if leaves else 0


def _is_on_cpu(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and tensor.device.type == "cpu"
