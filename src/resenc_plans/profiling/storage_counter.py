"""Count the bytes of all tensor storages that are alive, and those that operators move."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class StorageCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts every storage that an operator puts out, until it is freed.

    Views share a storage and count once. What kernels allocate and free within one operator is not
    seen. `live` and `peak` are in bytes; `peak` may be set back at any time. `moved` are the bytes
    that operators read and write, each tensor once; those that only make views move nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self.moved = 0
        self._counted: set[int] = set()

    def add(self, *tensors: Tensor) -> None:
        """Count the storages of tensors that already exist."""
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Run the operator, count what it puts out."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        results = [part for part in tree_leaves(result) if isinstance(part, Tensor)]
        if results and not _only_looks(func):
            tensors = (*tree_leaves((args, kwargs)), *results)
            self.moved += sum(_bytes(tensor) for tensor in tensors if isinstance(tensor, Tensor))
        return result

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._counted:
            self._counted.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, key, size)
        return tensor

    def _forget(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.live -= size


def _only_looks(func: Any) -> bool:
    """Whether an operator puts out parts of what it gets, as they are, or memory without values."""
    returned = func._schema.returns
    return "empty" in func._schema.name or all(
        part.alias_info is not None and not part.alias_info.is_write for part in returned
    )


def _bytes(tensor: Tensor) -> int:
    """Of the values of a tensor; those of an expanded one are in memory once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
