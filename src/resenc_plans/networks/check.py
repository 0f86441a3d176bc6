"""`check_network`: whether a configuration's network can be built and takes its patch."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)

from resenc_plans.networks.build import build_network
from resenc_plans.networks.without_memory import call_without_memory, without_memory
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.words import counted

logger = logging.getLogger(__name__)

_NEEDS_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)


@dataclass(frozen=True)
class NetworkPart:
    """A module directly below a network: its name, its class, and how many parameters it has.

    What several have, as nnU-Net's decoders hold the encoder, counts for the first of them.
    """

    name: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class CheckedNetwork:
    """What a network is like that can be built.

    `outputs` are the sizes of its outputs in training, highest resolution first; None where it
    only runs on real values, so that its outputs are not known.
    """

    parameters: int
    outputs: tuple[tuple[int, ...], ...] | None
    parts: tuple["NetworkPart", ...]


def check_network(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    deep_supervision: bool = True,
    allow_import: Collection[str] = (),
) -> CheckedNetwork:
    """Build the network of a configuration and run it on a batch, without memory and values.

    What the training would refuse at its start or in its first step is refused here.

    Parameters
    ----------
    config
        Of any network.
    input_channels, output_heads
        As `build_network` takes them.
    deep_supervision
        Whether the training asks for outputs at several resolutions.
    allow_import
        Modules whose networks the plans may name.

    Raises
    ------
    ConfigurationError
        As `build_network`, the network does not take the patch, or its outputs are not what a
        training needs: logits of the patch's size first, with `output_heads` channels.
    NetworkError
        A class cannot be imported.
    """
    build = partial(
        build_network,
        config,
        input_channels,
        output_heads,
        deep_supervision,
        allow_import=allow_import,
    )
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    network = without_memory(build, fake)
    parameters = _count(network)
    parts = tuple(_parts(network))
    outputs = find_outputs(network, config, input_channels, output_heads, fake=fake)
    return CheckedNetwork(parameters, outputs, parts)


def find_outputs(
    network: nn.Module,
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    fake: FakeTensorMode | None = None,
) -> tuple[tuple[int, ...], ...] | None:
    """Sizes of a network's outputs in training, found by one forward pass without values.

    They are None where the network only runs on real values. `fake` is the mode of its parameters,
    None where they are real. The network does not change.

    Raises
    ------
    ConfigurationError
        The network does not take the patch, or its outputs are not what a training needs.
    """
    fake = fake or FakeTensorMode(allow_non_fake_inputs=True)
    shape = (config.batch_size, input_channels, *config.patch_size)
    was_training = network.training
    try:
        outputs = call_without_memory(network.train(), shape, fake)
    except _NEEDS_VALUES as error:
        logger.debug("The network needs values to run", exc_info=error)
        return None
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise config.error(
            f"architecture: the network does not run on a patch of {_sizes(config.patch_size)} "
            f"with {counted(input_channels, 'channel')}: {reason}."
        ) from error
    finally:
        network.train(was_training)
    return _sizes_of_outputs(config, outputs, output_heads)


def _parts(network: nn.Module) -> Iterator[NetworkPart]:
    seen: set[nn.Parameter] = set()
    for name, part in network.named_children():
        own = set(part.parameters()) - seen
        seen |= own
        count = sum(parameter.numel() for parameter in own)
        yield NetworkPart(name, type(part).__name__, count)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _sizes_of_outputs(
    config: ResolvedConfiguration, outputs: Any, heads: int
) -> tuple[tuple[int, ...], ...]:
    logits = [outputs] if isinstance(outputs, Tensor) else outputs
    if not (isinstance(logits, Sequence) and logits and all(isinstance(o, Tensor) for o in logits)):
        raise config.error(
            f"architecture: the network returns a {type(outputs).__name__} in training. A tensor "
            "of logits is needed, or a list of them, highest resolution first."
        )
    for scale in logits:
        if scale.ndim != config.dim + 2 or scale.shape[:2] != (config.batch_size, heads):
            raise config.error(
                f"architecture: the network returns {_sizes(scale.shape)} in training, where "
                f"logits (batch, heads, voxels) of {counted(config.batch_size, 'sample')} and "
                f"{counted(heads, 'head')} are needed."
            )
    sizes = tuple(tuple(scale.shape[2:]) for scale in logits)
    if sizes[0] != config.patch_size:
        raise config.error(
            f"architecture: the network's first output has {_sizes(sizes[0])} voxels, but the "
            f"patch {_sizes(config.patch_size)}."
        )
    return sizes


def _sizes(values: Sequence[int]) -> str:
    return "x".join(map(str, values))
