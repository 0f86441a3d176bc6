"""`build_network`: from a resolved configuration to its network."""

from collections.abc import Callable, Collection
from functools import partial
from typing import cast

from torch import nn

from resenc_plans.errors import ConfigurationError, NetworkError
from resenc_plans.networks.arguments import call_network, refuse_determined
from resenc_plans.networks.baselines.cotr import CoTr
from resenc_plans.networks.baselines.mednext import MedNeXt
from resenc_plans.networks.baselines.monai import register_monai
from resenc_plans.networks.baselines.nnformer import NNFormer
from resenc_plans.networks.baselines.primus import register_primus
from resenc_plans.networks.baselines.stunet import STUNet
from resenc_plans.networks.baselines.umamba import UMamba
from resenc_plans.networks.imports import import_class, is_allowed
from resenc_plans.networks.registry import (
    find_builder,
    register_architecture,
    unknown_network,
)
from resenc_plans.networks.unet.layers import OPERATORS, find_operator, layer_factory
from resenc_plans.networks.unet.plain import PlainConvUNet
from resenc_plans.networks.unet.residual import ResidualEncoderUNet
from resenc_plans.plans.architectures import (
    PlainConvUNetArchitecture,
    ResidualEncoderUNetArchitecture,
    UNetArguments,
)
from resenc_plans.plans.bounds import count_fault
from resenc_plans.plans.configuration import ResolvedConfiguration, expect_resolved
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.known_networks import check_patch
from resenc_plans.plans.unet import UNet, rare_arguments

_FROM_DATASET = ("input_channels", "num_classes")
"""Arguments of nnU-Net's U-Nets that never stand in plans."""


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
        The network or an operator is unknown, the arguments do not fit, or the network does not
        take the patch size. The message names configuration and key.
    UsageError
        `config` is not a resolved configuration.
    """
    expect_resolved(config)
    fault = count_fault(input_channels=input_channels, output_heads=output_heads)
    if fault is not None:
        raise config.error(fault)
    architecture = config.architecture
    name = architecture.network_class_name
    if isinstance(architecture, ResidualEncoderUNetArchitecture | PlainConvUNetArchitecture):
        return _build_unet(
            config,
            input_channels,
            output_heads,
            deep_supervision=deep_supervision,
            allow_import=allow_import,
        )
    check_patch(config)
    builder = find_builder(name)
    if builder is not None:
        return builder(config, input_channels, output_heads, deep_supervision)
    if is_allowed(name, allow_import):
        return _build_imported(
            config,
            input_channels,
            output_heads,
            deep_supervision=deep_supervision,
            allow_import=allow_import,
        )
    raise unknown_network(config)


def _build_baseline(
    network: Callable[..., nn.Module],
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    deep_supervision: bool,
) -> nn.Module:
    """A network of `networks.baselines`; `arch_kwargs` are its other arguments."""
    return call_network(
        config,
        network,
        thaw(config.architecture.arch_kwargs),
        input_channels=input_channels,
        num_classes=output_heads,
        deep_supervision=deep_supervision,
    )


BASELINES = "resenc_plans.networks.baselines"

register_architecture("STUNet", partial(_build_baseline, STUNet))
register_architecture(f"{BASELINES}.stunet.STUNet", partial(_build_baseline, STUNet))
register_architecture(f"{BASELINES}.mednext.MedNeXt", partial(_build_baseline, MedNeXt))
register_architecture(f"{BASELINES}.cotr.CoTr", partial(_build_baseline, CoTr))
register_architecture(f"{BASELINES}.nnformer.NNFormer", partial(_build_baseline, NNFormer))
register_architecture(f"{BASELINES}.umamba.UMamba", partial(_build_baseline, UMamba))
register_monai()
register_primus()


def _build_unet(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    deep_supervision: bool,
    allow_import: Collection[str],
) -> nn.Module:
    unet = UNet.of(config)
    arguments = config.architecture.arch_kwargs
    assert isinstance(arguments, UNetArguments)
    _refuse_unknown_arguments(config, arguments)
    try:
        layers = layer_factory(unet.operators, allow_import)
    except (ConfigurationError, NetworkError) as error:
        raise config.error(f"architecture.arch_kwargs.{error}") from None
    network = ResidualEncoderUNet if unet.kind == "residual" else PlainConvUNet
    try:
        return network(
            unet, layers, input_channels, output_heads, deep_supervision=deep_supervision
        )
    except NetworkError as error:
        raise NetworkError(f"{config.plans.source}: {config.name}: {error}") from None


def _refuse_unknown_arguments(config: ResolvedConfiguration, arguments: UNetArguments) -> None:
    unknown = sorted(set(arguments.model_extra or ()) - rare_arguments(arguments))
    refuse_determined(config, [key for key in unknown if key in _FROM_DATASET])
    if unknown:
        name = config.architecture.network_class_name.rpartition(".")[2]
        raise config.error(
            f"architecture.arch_kwargs.{unknown[0]} is not an argument of {name}. Remove it."
        )


def _build_imported(
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    *,
    deep_supervision: bool,
    allow_import: Collection[str],
) -> nn.Module:
    """A network of a trusted module, called as nnU-Net's get_network_from_plans calls it."""
    arguments = thaw(config.architecture.arch_kwargs)
    arguments.pop("deep_supervision", None)
    try:
        network_class = import_class(config.architecture.network_class_name, allow_import)
        for key in config.architecture.kw_requires_import:
            if arguments.get(key) is not None:
                arguments[key] = _any_class(key, arguments[key], allow_import)
    except (ConfigurationError, NetworkError) as error:
        raise config.error(f"architecture: {error}") from None
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
