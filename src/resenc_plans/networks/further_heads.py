"""Weights trained with deep supervision, in a network that is built without it."""

from typing import Any

from torch import nn

from resenc_plans.plans.known_networks import is_head


def ignore_further_heads(network: nn.Module) -> None:
    """Let a network without deep supervision load weights of a network that has more heads.

    nnU-Net predicts with a network that is built so, and loads all weights of a checkpoint.
    """
    network.register_load_state_dict_pre_hook(_without_further_heads)  # type: ignore[no-untyped-call]


def _without_further_heads(
    network: nn.Module, state: dict[str, Any], prefix: str, *_: object
) -> None:
    class_name = f"{type(network).__module__}.{type(network).__qualname__}"
    names = network.state_dict().keys()
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name not in names and is_head(name, class_name):
            del state[key]
