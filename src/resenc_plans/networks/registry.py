"""Which builder makes the network that a plans file names.

A dict from class names to builders, to which programs add by `register_architecture` and packages
by an entry point of the group `resenc_plans.architectures`: its name is the network's class name,
its object the builder. An entry point is loaded only when a configuration names it.
"""

from importlib.metadata import entry_points
from typing import Protocol

from torch import nn

from resenc_plans.errors import NetworkError
from resenc_plans.plans.architectures import architecture_kind
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import KnownNetwork, register_network

ENTRY_POINTS = "resenc_plans.architectures"


class Builder(Protocol):
    """Makes the network of a configuration, whose `architecture.arch_kwargs` are its arguments.

    With `deep_supervision` the network returns, at least in training, a list or tuple of logits,
    highest resolution first; a network without it returns one tensor either way. A
    configuration that does not fit is refused with a `ConfigurationError`.
    """

    def __call__(
        self,
        config: ResolvedConfiguration,
        input_channels: int,
        output_heads: int,
        deep_supervision: bool,
        /,
    ) -> nn.Module:
        """Build the network."""


_BUILDERS: dict[str, Builder] = {}


def register_architecture(
    name: str, builder: Builder, *, known: KnownNetwork | None = None
) -> None:
    """Let configurations name a network `name`; a later registration replaces an earlier one.

    `known` says which patches the network takes, at which sizes it has outputs under deep
    supervision, and which of its parameters are heads; without it, it takes any patch, and
    training finds out its outputs.

    Raises
    ------
    NetworkError
        The name is that of one of nnU-Net's two U-Nets.
    """
    if architecture_kind(name) != "other":
        raise NetworkError(f"{name!r} is nnU-Net's own network and cannot be replaced.")
    _BUILDERS[name] = builder
    if known is not None:
        register_network(name, known)


def find_builder(name: str) -> Builder | None:
    """The builder registered under `name`, by the program or by an installed package.

    Raises
    ------
    NetworkError
        A package offers the name, but its entry point does not load.
    """
    if name not in _BUILDERS:
        for offered in entry_points(group=ENTRY_POINTS, name=name):
            try:
                _BUILDERS[name] = offered.load()
            except (ImportError, AttributeError) as error:
                raise NetworkError(
                    f"{name!r} is offered by the package "
                    f"{offered.dist.name if offered.dist else offered.value}, "
                    f"but cannot be loaded: {error}."
                ) from None
    return _BUILDERS.get(name)


def architecture_names() -> tuple[str, ...]:
    """All names under which builders are registered or offered by packages, sorted."""
    offered = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted(offered | set(_BUILDERS)))
