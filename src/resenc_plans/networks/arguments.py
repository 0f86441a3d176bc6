"""Call a network's class with the arguments of a plans file, and explain where they do not fit."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.unet.layout import fault
from resenc_plans.plans.configuration import ResolvedConfiguration


def call_network(
    config: ResolvedConfiguration,
    network: Callable[..., nn.Module],
    given: Mapping[str, Any],
    **ours: Any,
) -> nn.Module:
    """Build `network` with the arguments `given` by the configuration and those that are `ours`.

    Raises
    ------
    ConfigurationError
        An argument is unknown, missing, given although it follows from elsewhere, or refused.
    """
    taken = sorted(set(given) & set(ours))
    if taken:
        raise fault(
            config,
            f"architecture.arch_kwargs has {', '.join(taken)}, which the configuration, the "
            "dataset and the run determine. Remove it.",
        )
    try:
        inspect.signature(network).bind(**given, **ours)
        return network(**given, **ours)
    except ConfigurationError as error:
        raise fault(config, f"architecture.arch_kwargs.{error}") from None
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise fault(
            config,
            f"architecture.arch_kwargs do not fit {_class_name(config)}: {error}".rstrip(".") + ".",
        ) from error


def _class_name(config: ResolvedConfiguration) -> str:
    return config.architecture.network_class_name.rpartition(".")[2]
