"""A device whose memory runs out once, and batches for which that may happen anywhere."""

from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resenc_plans.training.batches import samples
from resenc_plans.training.batches.batched_transforms import BATCHED
from resenc_plans.training.batches.drawn import NOISE, DrawnBatch
from resenc_plans.training.batches.drawn_samples import DrawnSamples
from resenc_plans.training.batches.source import PatchSource


class ShortOfMemory(TorchDispatchMode):
    """Counts what is allocated on a device, and lets one of these fail."""

    def __init__(self, device: torch.device, fails_at: int | None = None) -> None:
        super().__init__()
        self.device, self.fails_at, self.allocated = device, fails_at, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        is_view = any(returned.alias_info for returned in func._schema.returns)
        made = [part for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        if made and made[0].device.type == self.device.type and not is_view:
            self.allocated += 1
            if self.allocated == self.fails_at:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return result


def drawn_batches(source: PatchSource) -> list[DrawnBatch]:
    """The fewest of a source's first batches that take every kind of step."""
    store: Any = source.store
    found, kinds = [], {*BATCHED, NOISE}
    with patch.object(samples, "open_prediction", lambda _, case, __: store.previous[case]):
        for batch in map(DrawnSamples(source).batch, range(40)):
            its = {step.kind for sample in batch.samples for step in sample.steps}
            if kinds & its:
                found.append(batch)
                kinds -= its
    assert not kinds
    return found
