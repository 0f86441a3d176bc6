"""What is known of networks without building them.

The resolutions at which they work (so the rule for their patch, their outputs, their losses), how
many axes their images have, and which of their parameters are heads. nnU-Net's U-Nets, the
baselines (`networks.baselines`) and MONAI's networks are known; others are added by
`register_network`. No torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import floor, log2
from typing import Any

from resenc_plans.errors import ConfigurationError, shown
from resenc_plans.plans.architectures import Architecture, OtherArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.patch_rule import PatchRule
from resenc_plans.plans.topology import Sizes, divisor_of
from resenc_plans.plans.unet import UNet, per_stage, per_stage_and_axis
from resenc_plans.words import counted

Scales = tuple[tuple[float, ...], ...]
"""Sizes relative to the patch, per axis, highest resolution first."""

STUNET_STRIDES = (1, 2, 2, 2, 2, 2)
"""Strides with which STU-Net's six stages begin by default."""

MEDNEXT_STRIDES = (1, 2, 2, 2, 2, 1)
"""Strides of MedNeXt's five stages, and of its bottleneck's output, which nnU-Net counts too."""

UMAMBA_VARIANTS = ("none", "bot", "enc")
"""Where Mamba is in U-Mamba: nowhere, at the bottleneck, after each stage of the encoder."""

NNFORMER_PATCHES = {"tumor": (128, 128, 128), "synapse": (64, 128, 128)}
"""Patches of nnFormer's variants as they were published."""

PRIMUS_MODULE = "dynamic_network_architectures.architectures.primus"
PRIMUS_NETWORKS = (
    "Primus",
    *(f"Primus{version}{size}" for version in ("V2", "V3") for size in "SBML"),
)
"""The classes of that module which nnU-Net's trainers build."""

MAX_HALVINGS = 16

_NNFORMER_STRIDES: dict[str, Sizes] = {
    "tumor": ((1, 1, 1), *((2, 2, 2),) * 5),
    "synapse": ((1, 1, 1), *((2, 2, 2),) * 4, (1, 2, 2)),
}


@dataclass(frozen=True)
class Resolutions:
    """The resolutions of a network, highest first.

    `strides` leads to each from the one above, the first from the patch itself; one number per
    axis. In training with deep supervision the first `outputs` of them have an output. `weights`
    are those of their losses as the network was published; None: nnU-Net's, see `loss_weights`.
    `lowest_voxels` are those that the lowest must have at least, `only` the one patch that it
    takes, see `PatchRule`.
    """

    strides: Sizes
    outputs: int
    weights: tuple[float, ...] | None = None
    lowest_voxels: int = 1
    only: tuple[int, ...] | None = None

    @property
    def patch_rule(self) -> PatchRule:
        """The patch sizes that the network takes."""
        return PatchRule(divisor_of(self.strides), self.lowest_voxels, self.only)

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

NNUNET_HEADS = ("*.seg_layers.*",)
"""Names of the heads' parameters in nnU-Net's networks, and in all that follow them."""


@dataclass(frozen=True)
class KnownNetwork:
    """What is known of a class of networks.

    `heads` are shell patterns for the names of the parameters that make logits; `dims` the numbers
    of axes that its images may have.
    """

    resolutions: FindResolutions
    heads: tuple[str, ...] = NNUNET_HEADS
    dims: tuple[int, ...] = (2, 3)


def register_network(class_name: str, network: KnownNetwork) -> None:
    """Let it be known what the networks are like that configurations name `class_name`."""
    _NETWORKS[_key(class_name)] = network


def known_names() -> tuple[str, ...]:
    """The classes of which something is known, without nnU-Net's U-Nets."""
    return tuple(_NETWORKS)


def find_network(class_name: str) -> KnownNetwork | None:
    """What is known of the networks of a class; None where nothing is."""
    return _NETWORKS.get(_key(class_name))


def _key(class_name: str) -> str:
    """A class by its import path, MONAI's by the shortest."""
    is_monai = class_name.startswith(_MONAI)
    return _MONAI + class_name.rpartition(".")[2] if is_monai else class_name


def is_known(architecture: Architecture) -> bool:
    """Whether anything is known of an architecture's network, as of nnU-Net's U-Nets."""
    name = architecture.network_class_name
    return not isinstance(architecture, OtherArchitecture) or find_network(name) is not None


def resolutions_of(config: ResolvedConfiguration) -> Resolutions:
    """The resolutions of a configuration's network.

    A network of an unknown class takes any patch and has one output, as large as the patch.

    Raises
    ------
    ConfigurationError
        The network's arguments do not fit, or it is for images of other axes.
    """
    if not isinstance(config.architecture, OtherArchitecture):
        unet = UNet.of(config)
        return Resolutions(
            unet.strides, unet.n_stages - 1, lowest_voxels=unet.patch_rule.lowest_voxels
        )
    name = config.architecture.network_class_name
    network = find_network(name)
    if network is None:
        return Resolutions(((1,) * config.dim,), 1)
    if config.dim not in network.dims:
        raise config.error(
            f"patch_size has {config.dim} axes, but {name.rpartition('.')[2]} is for images of "
            f"{' or '.join(map(str, network.dims))}. Use a configuration of so many axes, such as "
            "3d_fullres."
        )
    try:
        resolutions = network.resolutions(config)
        if not all(_is_stride(step, config.dim) for step in resolutions.strides):
            raise ValueError(f"they make strides of {shown(resolutions.strides)}")
        return resolutions
    except ConfigurationError as error:
        raise config.error(f"architecture.arch_kwargs.{error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise config.error(f"architecture.arch_kwargs do not fit {name}: {error}.") from error


def check_patch(config: ResolvedConfiguration) -> None:
    """Refuse a configuration whose network does not take its patch size.

    Raises
    ------
    ConfigurationError
        It does not; the message proposes the nearest patch size that it takes. Or as
        `resolutions_of`.
    """
    fault = resolutions_of(config).patch_rule.fault(config.patch_size)
    if fault is not None:
        raise config.error(f"patch_size {list(config.patch_size)} {fault}")


def is_head(parameter: str, network_class_name: str) -> bool:
    """Whether a parameter makes logits, by its name in the networks of a class.

    >>> is_head("decoder.seg_layers.0.weight", "mylab.nets.UNet")
    True
    >>> is_head("seg_outputs.4.bias", "STUNet")
    True
    """
    network = find_network(network_class_name)
    patterns = NNUNET_HEADS if network is None else network.heads
    return any(fnmatchcase(parameter, pattern) for pattern in patterns)


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


def _halved(
    config: ResolvedConfiguration,
    times: int,
    *,
    outputs: int = 1,
    weights: tuple[float, ...] | None = None,
    lowest_voxels: int = 1,
) -> Resolutions:
    """Every axis is halved so many times."""
    if not 0 <= times <= MAX_HALVINGS:
        raise ValueError(
            f"{counted(times, 'halving of the image is', 'halvings of the image are')} impossible"
        )
    strides = ((1,) * config.dim, *(((2,) * config.dim,) * times))
    return Resolutions(strides, outputs, weights, lowest_voxels)


def _is_stride(step: Any, dim: int) -> bool:
    """Whether a step has a whole number from 1 on for each axis."""
    return len(step) == dim and all(isinstance(size, int) and size >= 1 for size in step)


def _halves(outputs: int) -> tuple[float, ...]:
    return tuple(2.0**-output for output in range(outputs))


def _stunet(config: ResolvedConfiguration) -> Resolutions:
    strides = _arguments(config).get("strides", STUNET_STRIDES)
    stages = len(STUNET_STRIDES)
    return Resolutions(
        per_stage_and_axis("strides", strides, stages, config.dim), stages - 1, lowest_voxels=2
    )


def umamba_strides(strides: Any, dim: int | None = None) -> Sizes:
    """The strides of U-Mamba's stages, for images of `dim` axes, or as many as the strides have.

    Raises
    ------
    ConfigurationError
        They are not one per stage, or of other axes, or the first stage has one.
    """
    if not isinstance(strides, Sequence) or isinstance(strides, str) or len(strides) < 2:
        raise ConfigurationError(
            f"strides is {strides!r}: a list with an entry for each of two or more stages is "
            "needed."
        )
    per_axis = next((len(entry) for entry in strides if isinstance(entry, Sequence)), 3)
    steps = per_stage_and_axis("strides", strides, len(strides), per_axis)
    if set(steps[0]) != {1}:
        raise ConfigurationError("strides[0] must be 1: U-Mamba's first stage keeps the size.")
    if dim is not None and per_axis != dim:
        raise ConfigurationError(
            f"strides are for images of {per_axis} axes, but patch_size has {dim}. Write "
            f"{dim} numbers for each stage."
        )
    return steps


def _umamba(config: ResolvedConfiguration) -> Resolutions:
    """With Mamba in the encoder, the second generation has parameters for its patch."""
    arguments = _arguments(config)
    if "strides" not in arguments:
        raise ConfigurationError("strides is missing.")
    strides = umamba_strides(arguments["strides"], config.dim)
    is_bound = arguments.get("generation", 1) == 2 and arguments.get("variant") == "enc"
    return Resolutions(
        strides,
        len(strides) - 1,
        lowest_voxels=2,
        only=_own_patch(arguments.get("patch_size"), config.dim) if is_bound else None,
    )


def nnformer_patch(variant: Any, patch_size: Any = None) -> tuple[int, ...]:
    """The patch for which nnFormer is made; by default the published one of its variant.

    Raises
    ------
    ConfigurationError
        There is no such variant, or it cannot be made for the patch.
    """
    if variant not in NNFORMER_PATCHES:
        reason = " What is known of acdc does not suffice." if variant == "acdc" else ""
        raise ConfigurationError(
            f"variant is {variant!r}: nnFormer comes as {', '.join(NNFORMER_PATCHES)}.{reason}"
        )
    if patch_size is None:
        return NNFORMER_PATCHES[variant]
    patch = _own_patch(patch_size, 3)
    fault = PatchRule(divisor_of(_NNFORMER_STRIDES[variant])).fault(patch)
    if fault is not None:
        raise ConfigurationError(f"patch_size {list(patch)} {fault}")
    return patch


def _nnformer(config: ResolvedConfiguration) -> Resolutions:
    """Three outputs for Synapse, with weights as its trainer has them."""
    arguments = _arguments(config)
    variant = arguments.get("variant", "tumor")
    patch = nnformer_patch(variant, arguments.get("patch_size"))
    outputs, weights = (3, (4 / 7, 2 / 7, 1 / 7)) if variant == "synapse" else (1, None)
    return Resolutions(_NNFORMER_STRIDES[variant], outputs, weights, only=patch)


def _cotr(_: ResolvedConfiguration) -> Resolutions:
    """The first step halves two axes; all four outputs count."""
    first, others = (1, 2, 2), ((2, 2, 2),) * 3
    weights = (8 / 15, 4 / 15, 2 / 15, 1 / 15)
    return Resolutions(((1, 1, 1), first, *others), 4, weights, lowest_voxels=2)


def _own_patch(patch_size: Any, dim: int) -> tuple[int, ...]:
    """The argument `patch_size` of a network that is made for one patch."""
    if patch_size is None:
        raise ConfigurationError("patch_size is missing: the network has parameters for its patch.")
    return per_stage("patch_size", patch_size, dim)


def _swin_unetr(config: ResolvedConfiguration) -> Resolutions:
    arguments = _arguments(config)
    step = arguments.get("patch_size", 2)
    return Resolutions(
        ((1,) * config.dim, *(((step,) * config.dim,) * 5)),
        1,
        lowest_voxels=_normalised_voxels(config, arguments.get("norm_name", "instance")),
    )


def _segresnet(config: ResolvedConfiguration) -> Resolutions:
    arguments = _arguments(config)
    return _halved(
        config,
        len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1,
        lowest_voxels=_normalised_voxels(config, arguments.get("norm", "group")),
    )


def _segresnet_ds(config: ResolvedConfiguration) -> Resolutions:
    """With `resolution`, coarse axes are halved later (MONAI's `scales_for_resolution`).

    The weights are those of Auto3DSeg's loss, which are not normalised.
    """
    arguments = _arguments(config)
    steps = len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1
    outputs = min(max(arguments.get("dsdepth", 4), 1), steps)
    sizes = arguments.get("resolution") or (1,) * config.dim
    levels = [floor(log2(max(sizes) / size)) for size in sizes]
    strides = tuple(
        tuple(1 if level <= step < max(levels) else 2 for level in levels) for step in range(steps)
    )
    return Resolutions(
        ((1,) * config.dim, *strides),
        outputs,
        _halves(outputs),
        lowest_voxels=_normalised_voxels(config, arguments.get("norm", "batch")),
    )


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
    """Groups of one channel are normalised, so that a single voxel would always be zero."""
    total = sum(_halves(times + 1))
    weights = tuple(2.0**-output / total for output in range(times + 1))
    return _halved(config, times, outputs=times + 1, weights=weights, lowest_voxels=2)


def _normalised_voxels(config: ResolvedConfiguration, norm: Any) -> int:
    """Voxels that MONAI's normalisation `norm`, a name or a name with arguments, needs."""
    name = (norm if isinstance(norm, str) else norm[0]).lower()
    alone = name.startswith("instance") or (name == "batch" and config.batch_size == 1)
    return 2 if alone else 1


def _arguments(config: ResolvedConfiguration) -> Mapping[str, Any]:
    arguments = config.architecture.arch_kwargs
    assert isinstance(arguments, Mapping)
    return arguments


_MONAI = "monai.networks.nets."

_MONAI_MEDNEXT_HEADS = ("out_0.*", "out_blocks.*")


def _primus(config: ResolvedConfiguration) -> Resolutions:
    """One step to the embedded patches, and one back."""
    step = _arguments(config).get("patch_embed_size", (8,) * config.dim)
    return Resolutions(((1,) * config.dim, tuple(step)), 1)


_STUNET = KnownNetwork(_stunet, heads=("seg_outputs.*",), dims=(3,))

_NETWORKS: dict[str, KnownNetwork] = {
    "STUNet": _STUNET,
    "resenc_plans.networks.baselines.stunet.STUNet": _STUNET,
    "resenc_plans.networks.baselines.mednext.MedNeXt": KnownNetwork(
        _mednext_variant, heads=("out_?.*",), dims=(3,)
    ),
    "resenc_plans.networks.baselines.umamba.UMamba": KnownNetwork(_umamba),
    "resenc_plans.networks.baselines.cotr.CoTr": KnownNetwork(
        _cotr, heads=("decoder.heads.*",), dims=(3,)
    ),
    "resenc_plans.networks.baselines.nnformer.NNFormer": KnownNetwork(
        _nnformer, heads=("final.*",), dims=(3,)
    ),
    f"{_MONAI}SwinUNETR": KnownNetwork(_swin_unetr, heads=("out.*",)),
    f"{_MONAI}SegResNet": KnownNetwork(_segresnet, heads=("conv_final.2.*",)),
    f"{_MONAI}SegResNetDS": KnownNetwork(_segresnet_ds, heads=("up_layers.*.head.*",)),
    f"{_MONAI}DiNTS": KnownNetwork(_dints, heads=("stem_finals.1.*",)),
    f"{_MONAI}MedNeXt": KnownNetwork(_mednext, heads=_MONAI_MEDNEXT_HEADS),
    **{f"{PRIMUS_MODULE}.{name}": KnownNetwork(_primus, dims=(3,)) for name in PRIMUS_NETWORKS},
    **{
        f"{_MONAI}MedNeXt{variant}": KnownNetwork(_mednext_variant, heads=_MONAI_MEDNEXT_HEADS)
        for variant in "SBML"
    },
}
"""By class name; MONAI's by the short import path, which stands for the full one, too."""
