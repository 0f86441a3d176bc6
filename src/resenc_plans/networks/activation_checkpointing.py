"""Calculate blocks of a network a second time in the backward pass, instead of keeping them."""

from collections.abc import Iterable
from functools import partial
from typing import Protocol, runtime_checkable

from torch import nn
from torch.utils.checkpoint import checkpoint

from resenc_plans.errors import TrainingError


@runtime_checkable
class HasBlocks(Protocol):
    """A network that says what may be calculated twice."""

    def checkpointed_blocks(self) -> Iterable[nn.Module]:
        """Modules that each take and return one tensor, and together hold most activations."""


def checkpoint_activations(network: nn.Module) -> None:
    """Let each block of a network keep its input only, in training; results are the same.

    Raises
    ------
    TrainingError
        The network does not say what its blocks are.
    """
    if not isinstance(network, HasBlocks):
        raise TrainingError(
            f"activation_checkpointing: {type(network).__name__} has no method "
            "`checkpointed_blocks`, which names the blocks. Set it to false."
        )
    for block in network.checkpointed_blocks():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
