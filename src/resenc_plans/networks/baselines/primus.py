"""Primus (Wald et al. 2025) and its successors: nnU-Net's transformers (the extra `primus`).

They are those of dynamic-network-architectures, by its own class names. `arch_kwargs` are the
arguments of its classes, without channels and `input_shape`, which follow from the dataset and the
configuration. The package is imported when one of these is built.
"""

from functools import partial
from importlib import import_module

from torch import nn

from resenc_plans.networks.arguments import call_network
from resenc_plans.networks.registry import register_architecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.known_networks import PRIMUS_MODULE, PRIMUS_NETWORKS


def register_primus() -> None:
    """Register the networks under their import paths."""
    for name in PRIMUS_NETWORKS:
        register_architecture(f"{PRIMUS_MODULE}.{name}", partial(_build, name))


def _build(
    name: str, config: ResolvedConfiguration, input_channels: int, output_heads: int, _: bool
) -> nn.Module:
    """A network; it has no deep supervision."""
    try:
        network = getattr(import_module(PRIMUS_MODULE), name)
    except (ImportError, AttributeError, RuntimeError) as error:  # a torchvision of another torch
        raise config.error(
            f"{name} needs the extra primus: pip install 'resenc-plans[primus]' ({error})."
        ) from None
    heads = "num_classes" if name == "Primus" else "output_channels"
    return call_network(
        config,
        network,
        thaw(config.architecture.arch_kwargs),
        input_channels=input_channels,
        input_shape=tuple(config.patch_size),
        **{heads: output_heads},
    )
