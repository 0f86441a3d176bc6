"""Which builder makes the network that a plans file names.

A dict from class names to builders, to which programs add by `register_architecture` and packages
by an entry point of the group `resenc_plans.architectures`: its name is the network's class name,
its object the builder. An entry point is loaded only when a configuration names it.
"""

from collections.abc import Collection
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from resenc_plans.errors import ConfigurationError, NetworkError, UsageError
from resenc_plans.networks.imports import is_allowed
from resenc_plans.plans.architectures import (
    PLAIN_CONV_UNET,
    RESIDUAL_ENCODER_UNET,
    architecture_kind,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import (
    KnownNetwork,
    is_known,
    known_names,
    register_network,
)
from resenc_plans.words import nearest

if TYPE_CHECKING:
    from torch import nn

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
    ) -> "nn.Module":
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
    if not callable(builder):
        raise UsageError(
            f"`builder=` is a {type(builder).__name__}. Give a function of configuration, input "
            "channels, output heads and deep supervision that makes the network."
        )
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


def refuse_unknown(config: ResolvedConfiguration, allow_import: Collection[str]) -> None:
    """Refuse a network that nobody can build, without importing anything to find out.

    Raises
    ------
    ConfigurationError
        As `unknown_network`.
    """
    name = config.architecture.network_class_name
    if not (
        is_known(config.architecture)
        or name in architecture_names()
        or is_allowed(name, allow_import)
    ):
        raise unknown_network(config)


def unknown_network(config: ResolvedConfiguration) -> ConfigurationError:
    """The error about a network that is neither registered nor in a module that is allowed."""
    name = config.architecture.network_class_name
    known = (*architecture_names(), *known_names(), PLAIN_CONV_UNET, RESIDUAL_ENCODER_UNET)
    by_class = {other.rpartition(".")[2]: other for other in known}
    close = nearest(name.rpartition(".")[2], by_class, likeness=0.8)
    hint = f" Did you mean {by_class[close]}?" if close else ""
    return config.error(
        f"architecture.network_class_name {name!r} is not known, so it is not imported.{hint} If "
        "you trust the file, allow its module (`allow_import=`), or register a builder under this "
        f"name (register_architecture, or the entry point group {ENTRY_POINTS})."
    )


def architecture_names() -> tuple[str, ...]:
    """All names under which builders are registered or offered by packages, sorted."""
    offered = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted(offered | set(_BUILDERS)))
