"""The resolutions at which networks work: the rule for their patch, their outputs, their losses.

Training has to know them before a network is built. nnU-Net's U-Nets, STU-Net and MONAI's networks
are known; others are added by `register_resolutions`. No torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, log2
from typing import Any

from resenc_plans.plans.architectures import OtherArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.topology import Sizes, divisor_of
from resenc_plans.plans.unet import UNet, per_stage_and_axis

Scales = tuple[tuple[float, ...], ...]
"""Sizes relative to the patch, per axis, highest resolution first."""

STUNET_STRIDES = (1, 2, 2, 2, 2, 2)
"""Strides with which STU-Net's six stages begin by default."""

MEDNEXT_STRIDES = (1, 2, 2, 2, 2, 1)
"""Strides of MedNeXt's five stages, and of its bottleneck's output, which nnU-Net counts too."""


@dataclass(frozen=True)
class Resolutions:
    """The resolutions of a network, highest first.

    `strides` leads to each from the one above, the first from the patch itself; one number per
    axis. In training with deep supervision the first `outputs` of them have an output. `weights`
    are those of their losses as the network was published; None: nnU-Net's, see `loss_weights`.
    """

    strides: Sizes
    outputs: int
    weights: tuple[float, ...] | None = None

    @property
    def divisor(self) -> tuple[int, ...]:
        """What the patch size must be a multiple of, per axis."""
        return divisor_of(self.strides)

    @property
    def output_scales(self) -> Scales:
        """Sizes of the outputs.

        >>> Resolutions(((1, 1), (2, 2), (1, 2)), outputs=2).output_scales
        ((1.0, 1.0), (0.5, 0.5))
        """
        return tuple(
            tuple(1 / size for size in divisor_of(self.strides[: output + 1]))
            for output in range(self.outputs)
        )


FindResolutions = Callable[[ResolvedConfiguration], Resolutions]


def register_resolutions(class_name: str, find: FindResolutions) -> None:
    """Let training know the resolutions of the networks that configurations name `class_name`."""
    _RESOLUTIONS[class_name] = find


def resolutions_of(config: ResolvedConfiguration) -> Resolutions:
    """The resolutions of a configuration's network.

    A network of an unknown class takes any patch and has one output, as large as the patch.

    Raises
    ------
    ConfigurationError
        The network's arguments do not fit.
    """
    if not isinstance(config.architecture, OtherArchitecture):
        unet = UNet.of(config)
        return Resolutions(unet.strides, unet.n_stages - 1)
    name = config.architecture.network_class_name
    if name.startswith(_MONAI):
        name = _MONAI + name.rpartition(".")[2]
    find = _RESOLUTIONS.get(name, _full_resolution)
    try:
        return find(config)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise config.error(f"architecture.arch_kwargs do not fit {name}: {error}.") from error


def loss_weights(outputs: int, *, lowest: float = 0.0) -> tuple[float, ...]:
    """Weights of the losses of so many outputs: each half of the one above, together 1.

    Of several outputs the lowest weighs `lowest` before the weights are scaled, as in nnU-Net
    (`_build_loss` of its trainer).

    >>> loss_weights(3)
    (0.6666666666666666, 0.3333333333333333, 0.0)
    """
    weights = [2.0**-output for output in range(outputs)]
    if outputs > 1:
        weights[-1] = lowest
    return tuple(weight / sum(weights) for weight in weights)


def _full_resolution(config: ResolvedConfiguration) -> Resolutions:
    return Resolutions(((1,) * config.dim,), 1)


def _halved(
    config: ResolvedConfiguration,
    times: int,
    *,
    outputs: int = 1,
    weights: tuple[float, ...] | None = None,
) -> Resolutions:
    """Every axis is halved so many times."""
    return Resolutions(((1,) * config.dim, *(((2,) * config.dim,) * times)), outputs, weights)


def _halves(outputs: int) -> tuple[float, ...]:
    return tuple(2.0**-output for output in range(outputs))


def _stunet(config: ResolvedConfiguration) -> Resolutions:
    strides = _arguments(config).get("strides", STUNET_STRIDES)
    stages = len(STUNET_STRIDES)
    return Resolutions(per_stage_and_axis("strides", strides, stages, config.dim), stages - 1)


def _swin_unetr(config: ResolvedConfiguration) -> Resolutions:
    step = _arguments(config).get("patch_size", 2)
    return Resolutions(((1,) * config.dim, *(((step,) * config.dim,) * 5)), 1)


def _segresnet(config: ResolvedConfiguration) -> Resolutions:
    return _halved(config, len(_arguments(config).get("blocks_down", (1, 2, 2, 4))) - 1)


def _segresnet_ds(config: ResolvedConfiguration) -> Resolutions:
    """With `resolution`, coarse axes are halved later (MONAI's `scales_for_resolution`).

    The weights are those of Auto3DSeg's loss, which are not normalised.
    """
    arguments = _arguments(config)
    steps = len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1
    outputs = min(max(arguments.get("dsdepth", 4), 1), steps)
    if not arguments.get("resolution"):
        return _halved(config, steps, outputs=outputs, weights=_halves(outputs))
    sizes = arguments["resolution"]
    levels = [floor(log2(max(sizes) / size)) for size in sizes]
    strides = tuple(
        tuple(1 if level <= step < max(levels) else 2 for level in levels) for step in range(steps)
    )
    return Resolutions(((1,) * config.dim, *strides), outputs, _halves(outputs))


def _dints(config: ResolvedConfiguration) -> Resolutions:
    arguments = _arguments(config)
    return _halved(
        config, arguments.get("num_depths", 3) + bool(arguments.get("use_downsample", True))
    )


def _mednext(config: ResolvedConfiguration) -> Resolutions:
    """Its bottleneck has an output, too, which counts like the others."""
    times = len(_arguments(config).get("blocks_down", (2, 2, 2, 2)))
    return _with_bottleneck(config, times)


def _mednext_variant(config: ResolvedConfiguration) -> Resolutions:
    return _with_bottleneck(config, 4)


def _with_bottleneck(config: ResolvedConfiguration, times: int) -> Resolutions:
    total = sum(_halves(times + 1))
    weights = tuple(2.0**-output / total for output in range(times + 1))
    return _halved(config, times, outputs=times + 1, weights=weights)


def _arguments(config: ResolvedConfiguration) -> Mapping[str, Any]:
    arguments = config.architecture.arch_kwargs
    assert isinstance(arguments, Mapping)
    return arguments


_MONAI = "monai.networks.nets."

_RESOLUTIONS: dict[str, FindResolutions] = {
    "STUNet": _stunet,
    "resenc_plans.networks.baselines.stunet.STUNet": _stunet,
    "resenc_plans.networks.baselines.mednext.MedNeXt": _mednext_variant,
    f"{_MONAI}SwinUNETR": _swin_unetr,
    f"{_MONAI}SegResNet": _segresnet,
    f"{_MONAI}SegResNetDS": _segresnet_ds,
    f"{_MONAI}DiNTS": _dints,
    f"{_MONAI}MedNeXt": _mednext,
    **{f"{_MONAI}MedNeXt{variant}": _mednext_variant for variant in "SBML"},
}
"""By class name; MONAI's by the short import path, which stands for the full one, too."""
