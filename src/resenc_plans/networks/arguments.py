"""Call a network's class with the arguments of a plans file, and explain where they do not fit."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.configuration import ResolvedConfiguration


def refuse_determined(config: ResolvedConfiguration, names: Collection[str]) -> None:
    """Refuse arguments of a configuration that follow from elsewhere.

    Raises
    ------
    ConfigurationError
        There are `names`.
    """
    if names:
        raise config.error(
            f"architecture.arch_kwargs has {', '.join(sorted(names))}, which the configuration, "
            "the dataset and the run determine. Remove it."
        )


def call_network(
    config: ResolvedConfiguration,
    network: Callable[..., nn.Module],
    written: Mapping[str, Any],
    **determined: Any,
) -> nn.Module:
    """Build `network` with the arguments `written` in the configuration and those `determined`.

    Raises
    ------
    ConfigurationError
        An argument is unknown, missing, written although it follows from elsewhere, or refused.
    """
    refuse_determined(config, set(written) & set(determined))
    try:
        inspect.signature(network).bind(**written, **determined)
        return network(**written, **determined)
    except ConfigurationError as error:
        raise config.error(f"architecture.arch_kwargs.{error}") from None
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        name = config.architecture.network_class_name.rpartition(".")[2]
        raise config.error(
            f"architecture.arch_kwargs do not fit {name}: {error}".rstrip(".") + "."
        ) from error
