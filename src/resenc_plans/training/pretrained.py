"""Starting from the weights of another training."""

from pathlib import Path

from torch import nn

from resenc_plans.errors import FileError
from resenc_plans.runs.checkpoint import load_checkpoint, load_weights

HEADS = ".seg_layers."
"""Part of the names of the parameters that make logits, in nnU-Net's networks."""


def load_pretrained(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Put a checkpoint's weights into a network; names of heads that were left as they are.

    Heads are left where their shapes differ, since another dataset has other labels.

    Raises
    ------
    FileError
        The file is no checkpoint, or anything but heads differs.
    """
    weights = dict(load_checkpoint(path).network_weights)
    own = network.state_dict()
    skipped = tuple(
        name
        for name, value in own.items()
        if HEADS in name and (name not in weights or weights[name].shape != value.shape)
    )
    if len(skipped) == len(own):
        raise FileError(f"{path}: no parameter fits this network.")
    kept = {name: weight for name, weight in weights.items() if name not in skipped}
    load_weights(network, kept | {name: own[name] for name in skipped}, str(path))
    return skipped
