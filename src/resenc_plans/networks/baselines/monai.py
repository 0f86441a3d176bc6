"""Networks of MONAI (the extra `monai`), by MONAI's own class names.

`arch_kwargs` are the arguments of MONAI's class, without the channels and `spatial_dims`, which
follow from the dataset and the configuration; the rules for their patches are in
`plans.known_networks`. MONAI is imported when one of these is built.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from torch import nn

from resenc_plans.networks.arguments import call_network
from resenc_plans.networks.registry import Builder, register_architecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.frozen import thaw

SWIN_FEATURES = 12
"""What SwinUNETR's features are a multiple of."""


def register_monai() -> None:
    """Register MONAI's networks under their import paths, short and full."""
    builders: Mapping[str, tuple[str, Builder]] = {
        "SwinUNETR": ("swin_unetr", build_swin_unetr),
        "SegResNet": ("segresnet", build_segresnet),
        "SegResNetDS": ("segresnet_ds", build_segresnet_ds),
        "DiNTS": ("dints", build_dints),
        "MedNeXt": ("mednext", build_mednext),
    } | {
        f"MedNeXt{variant}": ("mednext", partial(_build_mednext_variant, variant))
        for variant in "SBML"
    }
    for name, (module, builder) in builders.items():
        register_architecture(f"monai.networks.nets.{name}", builder)
        register_architecture(f"monai.networks.nets.{module}.{name}", builder)


def build_swin_unetr(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, _: bool
) -> nn.Module:
    """SwinUNETR, v2 with `use_v2`. It has no deep supervision."""
    arguments = _arguments(config)
    features = arguments.get("feature_size")
    if isinstance(features, int) and (features < 1 or features % SWIN_FEATURES):
        nearest = max(1, round(features / SWIN_FEATURES)) * SWIN_FEATURES
        raise config.error(
            f"architecture.arch_kwargs.feature_size is {features}, which is not a multiple of "
            f"{SWIN_FEATURES}. The nearest that SwinUNETR takes: {nearest}."
        )
    return _call(config, "SwinUNETR", arguments, input_channels, output_heads)


def build_segresnet(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, _: bool
) -> nn.Module:
    """SegResNet. It has no deep supervision."""
    return _call(config, "SegResNet", _arguments(config), input_channels, output_heads)


def build_segresnet_ds(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, deep_supervision: bool
) -> nn.Module:
    """SegResNetDS; `dsdepth` outputs in training, by default 4, or one without deep supervision."""
    arguments = {"dsdepth": 4} | _arguments(config)
    network: Any = _call(config, "SegResNetDS", arguments, input_channels, output_heads)
    if not deep_supervision:
        network.dsdepth = 1
    return network  # type: ignore[no-any-return]


def build_dints(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, _: bool
) -> nn.Module:
    """DiNTS, a searched instance of it, or the whole search space where no codes are arguments.

    `arch_kwargs` are those of MONAI's `TopologyInstance`, with its `arch_code` as two lists:
    `arch_code_a` (active paths, 0 or 1) and `arch_code_c` (operation of each path), both of shape
    (num_blocks, 3 * num_depths - 2). Which nodes are active follows from them. It has no
    deep supervision.
    """
    arguments = _arguments(config)
    paths, operations = arguments.pop("arch_code_a", None), arguments.pop("arch_code_c", None)
    if (paths is None) != (operations is None):
        raise config.error(
            "architecture.arch_kwargs needs both arch_code_a and arch_code_c, or neither."
        )
    depths = arguments.get("num_depths", 3)
    downsample = arguments.get("use_downsample", True)
    shape = (arguments.get("num_blocks", 6), 3 * depths - 2)
    code = [np.asarray(paths if paths is not None else np.ones(shape))]
    if operations is not None:
        code.append(np.asarray(operations))
    if any(part.shape != shape for part in code):
        raise config.error(
            f"architecture.arch_kwargs: arch_code_a and arch_code_c must have the shape {shape} "
            "(num_blocks, 3 * num_depths - 2)."
        )
    nets = _monai(config)
    with redirect_stdout(None), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "arch_code not provided")
        space = call_network(
            config,
            nets.TopologyInstance,
            arguments,
            arch_code=code if operations is not None else None,
            spatial_dims=config.dim,
        )
    return call_network(
        config,
        nets.DiNTS,
        {},
        dints_space=space,
        in_channels=input_channels,
        num_classes=output_heads,
        spatial_dims=config.dim,
        use_downsample=downsample,
        node_a=_active_nodes(code[0], depths),
    )


def build_mednext(
    config: ResolvedConfiguration, input_channels: int, output_heads: int, deep_supervision: bool
) -> nn.Module:
    """MedNeXt of any size."""
    network = _call(
        config, "MedNeXt", _arguments(config), input_channels, output_heads, deep_supervision=True
    )
    return _supervised(network, deep_supervision)


def _build_mednext_variant(
    variant: str,
    config: ResolvedConfiguration,
    input_channels: int,
    output_heads: int,
    deep_supervision: bool,
) -> nn.Module:
    network = _call(
        config,
        f"MedNeXt{variant}",
        _arguments(config),
        input_channels,
        output_heads,
        deep_supervision=True,
    )
    return _supervised(network, deep_supervision)


def _supervised(mednext: Any, deep_supervision: bool) -> nn.Module:
    """All heads exist in either case, so that weights load; `do_ds` says whether they are used."""
    mednext.do_ds = deep_supervision
    return mednext  # type: ignore[no-any-return]


def _call(
    config: ResolvedConfiguration,
    name: str,
    arguments: dict[str, Any],
    input_channels: int,
    output_heads: int,
    **determined: Any,
) -> nn.Module:
    network: Callable[..., nn.Module] = getattr(_monai(config), name)
    return call_network(
        config,
        network,
        arguments,
        in_channels=input_channels,
        out_channels=output_heads,
        spatial_dims=config.dim,
        **determined,
    )


def _arguments(config: ResolvedConfiguration) -> dict[str, Any]:
    kwargs = config.architecture.arch_kwargs
    return {key: _as_monai_writes(value) for key, value in thaw(kwargs).items()}


def _as_monai_writes(value: Any) -> Any:
    return tuple(_as_monai_writes(item) for item in value) if isinstance(value, list) else value


def _monai(config: ResolvedConfiguration) -> Any:
    try:
        return import_module("monai.networks.nets")
    except ImportError:
        raise config.error(
            f"architecture.network_class_name {config.architecture.network_class_name} needs "
            "MONAI. Install it: pip install 'resenc-plans[monai]'."
        ) from None


def _active_nodes(paths: Any, depths: int) -> Any:
    """Which resolutions are in use before each block and after the last, (num_blocks + 1, depths).

    Path p of a block begins at resolution (p + 1) // 3 - 1 + (p + 1) % 3 and ends at (p + 1) // 3.
    """
    nodes = np.zeros((len(paths) + 1, depths), dtype=int)
    for path in range(3 * depths - 2):
        start, end = (path + 1) // 3 - 1 + (path + 1) % 3, (path + 1) // 3
        nodes[0, start] |= bool(paths[0][path])
        for block, active in enumerate(paths, 1):
            nodes[block, end] |= bool(active[path])
    return nodes
