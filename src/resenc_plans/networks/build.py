"""`build_network`: from a resolved configuration to its network."""

from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, cast

from torch import nn

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.arguments import call_network
from resenc_plans.networks.baselines.monai import register_monai
from resenc_plans.networks.baselines.stunet import STUNet
from resenc_plans.networks.imports import import_class, is_allowed
from resenc_plans.networks.registry import (
    ENTRY_POINTS,
    architecture_names,
    find_builder,
    register_architecture,
)
from resenc_plans.networks.unet.layout import check_patch, fault, layout_of
from resenc_plans.networks.unet.operators import OPERATORS, find_operator
from resenc_plans.networks.unet.plain import PlainConvUNet
from resenc_plans.networks.unet.residual import ResidualEncoderUNet
from resenc_plans.plans.architectures import (
    PLAIN_CONV_UNET,
    RESIDUAL_ENCODER_UNET,
    PlainConvUNetArchitecture,
    ResidualEncoderUNetArchitecture,
)
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.frozen import thaw

_BLOCK_MODULE = "dynamic_network_architectures.building_blocks.residual"
_BLOCKS = {
    f"{module}{name}": block
    for name, block in (("BasicBlockD", "basic"), ("BottleneckD", "bottleneck"))
    for module in ("", f"{_BLOCK_MODULE}.")
}


def build_network(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    deep_supervision: bool = True,
    *,
    allow_import: Collection[str] = (),
) -> nn.Module:
    """The network of a configuration, initialised as nnU-Net initialises it.

    nnU-Net's two U-Nets return, with deep supervision, a list of logits, highest resolution first
    (see `UNetDecoder.forward`); other networks as `registry.Builder` says. `input_channels` are the
    image's, in the second stage of a cascade with those of the one-hot encoded segmentation;
    `output_heads` are the labels with background, or the regions.

    Class names in the configuration are looked up, never imported, but for those in the modules
    `allow_import` and below, whose code will run; such a network is called as nnU-Net calls it.

    Raises
    ------
    ConfigurationError
        The network or an operator is unknown, the arguments do not fit, or the patch size is not a
        multiple of what the network divides it by. The message names configuration and key.
    """
    for key, count in (("input_channels", input_channels), ("output_heads", output_heads)):
        if count < 1:
            raise fault(config, f"a network needs at least one of its {key}, not {count}.")
    architecture = config.architecture
    name = architecture.network_class_name
    if isinstance(architecture, ResidualEncoderUNetArchitecture | PlainConvUNetArchitecture):
        return _build_unet(config, input_channels, output_heads, deep_supervision, allow_import)
    builder = find_builder(name)
    if builder is not None:
        return builder(config, input_channels, output_heads, deep_supervision)
    if is_allowed(name, allow_import):
        return _build_imported(config, input_channels, output_heads, deep_supervision, allow_import)
    raise fault(
        config,
        f"architecture.network_class_name {name!r} is not known, so it is not imported."
        f"{_suggestion(name)} Otherwise register a builder under this name (register_architecture, "
        f"or the entry point group {ENTRY_POINTS}), or allow its module if you trust the file "
        "(--allow-import).",
    )


def build_stunet(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, deep_supervision: bool
) -> nn.Module:
    """STU-Net; `arch_kwargs` are `variant` (S, B, L, H) and, if not 2 throughout, `strides`."""
    if config.dim != 3:
        raise fault(config, "STU-Net is three-dimensional, but patch_size has two axes.")
    network = call_network(
        config,
        STUNet,
        thaw(config.architecture.arch_kwargs),
        input_channels=input_channels,
        num_classes=output_heads,
        deep_supervision=deep_supervision,
    )
    assert isinstance(network, STUNet)
    check_patch(config, network.divisor)
    return network


register_architecture("STUNet", build_stunet)
register_architecture("resenc_plans.networks.baselines.stunet.STUNet", build_stunet)
register_monai()


def _build_unet(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    deep_supervision: bool,
    allow_import: Collection[str],
) -> nn.Module:
    layout_of(config)
    residual = isinstance(config.architecture, ResidualEncoderUNetArchitecture)
    return call_network(
        config,
        ResidualEncoderUNet if residual else PlainConvUNet,
        _with_classes(config, _arguments(config), allow_import),
        input_channels=input_channels,
        num_classes=output_heads,
        deep_supervision=deep_supervision,
    )


def _build_imported(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    deep_supervision: bool,
    allow_import: Collection[str],
) -> nn.Module:
    """A network of a trusted module, called as nnU-Net's get_network_from_plans calls it."""
    arguments = _arguments(config)
    try:
        network_class = import_class(config.architecture.network_class_name, allow_import)
        for key in config.architecture.kw_requires_import:
            if arguments.get(key) is not None:
                arguments[key] = _any_class(key, arguments[key], allow_import)
    except ConfigurationError as error:
        raise fault(config, f"architecture: {error}") from None
    network = call_network(
        config,
        network_class,
        arguments,
        input_channels=input_channels,
        num_classes=output_heads,
        deep_supervision=deep_supervision,
    )
    if hasattr(network, "initialize"):
        network.apply(cast(Callable[[nn.Module], None], network.initialize))
    return network


def _any_class(key: str, name: str, allow_import: Collection[str]) -> type[nn.Module]:
    if key in OPERATORS:
        return find_operator(key, name, allow_import)
    return import_class(name, allow_import)


def _suggestion(name: str) -> str:
    known = (RESIDUAL_ENCODER_UNET, PLAIN_CONV_UNET, *architecture_names())
    by_class = {other.rpartition(".")[2].lower(): other for other in reversed(known)}
    close = get_close_matches(name.rpartition(".")[2].lower(), by_class, n=1, cutoff=0.8)
    return f" Did you mean {by_class[close[0]]}?" if close else ""


def _arguments(config: ResolvedConfiguration) -> dict[str, Any]:
    """`arch_kwargs` as the file has them, but for `deep_supervision`, which the run decides."""
    arguments = config.architecture.arch_kwargs
    values: Mapping[str, Any] = (
        arguments if isinstance(arguments, Mapping) else arguments.model_dump()
    )
    return {key: thaw(value) for key, value in values.items() if key != "deep_supervision"}


def _with_classes(
    config: ResolvedConfiguration, arguments: dict[str, Any], allow_import: Collection[str]
) -> dict[str, Any]:
    """The arguments with classes in place of their names."""
    result = dict(arguments)
    try:
        for key in OPERATORS:
            if result.get(key) is not None:
                result[key] = find_operator(key, result[key], allow_import)
        if "block" in result:
            result["block"] = _block(result["block"])
    except ConfigurationError as error:
        raise fault(config, f"architecture.arch_kwargs.{error}") from None
    return result


def _block(name: Any) -> str:
    if name not in _BLOCKS:
        raise ConfigurationError(
            f"block is {name!r}: {_BLOCK_MODULE}.BasicBlockD or .BottleneckD is expected."
        )
    return _BLOCKS[name]
