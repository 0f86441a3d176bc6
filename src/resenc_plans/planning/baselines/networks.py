"""The `architecture` of each baseline, from the sizes that its configuration has."""

from collections.abc import Callable
from itertools import product
from math import floor, log2
from typing import Any

from resenc_plans.errors import PlanningError
from resenc_plans.planning.baselines.sizes import Sizes
from resenc_plans.planning.configuration import unet_architecture
from resenc_plans.plans.known_networks import loss_weights
from resenc_plans.plans.topology import MIN_EDGE, strides_and_kernels
from resenc_plans.reprs import numbers

NetworkRecipe = Callable[[Sizes], dict[str, Any]]
"""The JSON object under the key `architecture`, as plans have it."""

_OWN = "resenc_plans.networks.baselines"
_MONAI = "monai.networks.nets"

STUNET_POOLINGS = 5


def planned_unet(sizes: Sizes) -> dict[str, Any]:
    """The planner's own U-Net."""
    refuse_one_resolution(sizes)
    return unet_architecture(sizes.unet)


def architecture(network_class_name: str, **arguments: Any) -> dict[str, Any]:
    """An architecture whose arguments name no classes."""
    return {
        "network_class_name": network_class_name,
        "arch_kwargs": arguments,
        "_kw_requires_import": [],
    }


def refuse_one_resolution(sizes: Sizes) -> None:
    """Refuse a patch of which nnU-Net halves no axis: a U-Net has two resolutions at least.

    Raises
    ------
    PlanningError
        It is so small; the message proposes the nearest patch of which an axis is halved.
    """
    patch = sizes.patch_size
    if len(sizes.unet.strides) > 1:
        return
    steps = (0, 2 * MIN_EDGE, 3 * MIN_EDGE)  # the last for an axis that is halved alone
    larger = product(*([max(edge, step) for step in steps] for edge in patch))
    halved = (size for size in larger if len(strides_and_kernels(sizes.spacing, size)[0]) > 1)
    raise PlanningError(
        f"The patch {numbers(patch)} is too small for a U-Net, which halves no axis of it: "
        f"{MIN_EDGE} voxels have to be left. The nearest that it takes: "
        f"{numbers(min(halved, key=sum))}."
    )


def mednext(variant: str, kernel_size: int) -> NetworkRecipe:
    """MedNeXt as its authors have it."""

    def recipe(_: Sizes) -> dict[str, Any]:
        return architecture(
            f"{_OWN}.mednext.MedNeXt",
            variant=variant,
            kernel_size=kernel_size,
            strides=[[step] * 3 for step in (1, 2, 2, 2, 2, 1)],
        )

    return recipe


def stunet(variant: str) -> NetworkRecipe:
    """STU-Net; of the plan's strides the first five after stage 0's, filled up with 1."""

    def recipe(sizes: Sizes) -> dict[str, Any]:
        refuse_one_resolution(sizes)
        poolings = [list(stride) for stride in sizes.unet.strides[1 : STUNET_POOLINGS + 1]]
        poolings += [[1, 1, 1]] * (STUNET_POOLINGS - len(poolings))
        return architecture(
            f"{_OWN}.stunet.STUNet", variant=variant, strides=[[1, 1, 1], *poolings]
        )

    return recipe


def stunet_weights(sizes: Sizes) -> tuple[float, ...] | None:
    """Weights of STU-Net's five outputs as the authors' trainer pairs them; None for nnU-Net's.

    nnU-Net has weights for as many outputs as the plan has poolings, the last of them 0. They are
    paired with the network's outputs until one list ends.
    """
    poolings = len(sizes.unet.strides) - 1
    if poolings == STUNET_POOLINGS:
        return None
    return (*loss_weights(poolings), *((0.0,) * STUNET_POOLINGS))[:STUNET_POOLINGS]


def u_mamba(variant: str, generation: int = 1) -> NetworkRecipe:
    """U-Mamba, with features, kernels and strides as in the plan."""

    def recipe(sizes: Sizes) -> dict[str, Any]:
        refuse_one_resolution(sizes)
        unet = sizes.unet
        arguments: dict[str, Any] = {
            "features_per_stage": list(unet.features),
            "kernel_sizes": [list(kernel) for kernel in unet.kernel_sizes],
            "strides": [list(stride) for stride in unet.strides],
            "variant": variant,
        }
        if generation == 2:
            arguments["generation"] = 2
            if variant == "enc":
                arguments["patch_size"] = list(sizes.patch_size)
        return architecture(f"{_OWN}.umamba.UMamba", **arguments)

    return recipe


def nnformer(variant: str) -> NetworkRecipe:
    """nnFormer, made for its patch."""
    return lambda sizes: architecture(
        f"{_OWN}.nnformer.NNFormer", variant=variant, patch_size=list(sizes.patch_size)
    )


def cotr(_: Sizes) -> dict[str, Any]:
    """CoTr with the axes of its samples exchanged, as published results have it."""
    return architecture(f"{_OWN}.cotr.CoTr", exchanged_axes=True)


def swin_unetr(**arguments: Any) -> NetworkRecipe:
    """MONAI's SwinUNETR with 48 features."""
    return lambda _: architecture(f"{_MONAI}.SwinUNETR", feature_size=48, **arguments)


def segresnet(sizes: Sizes) -> dict[str, Any]:
    """Auto3DSeg's SegResNetDS; along a coarse axis it halves later."""
    coarsest = max(sizes.spacing)
    is_anisotropic = any(floor(log2(coarsest / size)) > 0 for size in sizes.spacing)
    return architecture(
        f"{_MONAI}.SegResNetDS",
        init_filters=32,
        blocks_down=[1, 2, 2, 4, 4],
        norm="INSTANCE",
        dsdepth=4,
        **({"resolution": list(sizes.spacing)} if is_anisotropic else {}),
    )


def dints(_: Sizes) -> dict[str, Any]:
    """DiNTS, the network that Auto3DSeg's authors searched and published."""
    return architecture(
        f"{_MONAI}.DiNTS",
        num_blocks=12,
        num_depths=4,
        channel_mul=1,
        use_downsample=True,
        arch_code_a=_codes(_DINTS_PATHS),
        arch_code_c=_codes(_DINTS_OPERATIONS),
    )


def _codes(rows: str) -> list[list[int]]:
    return [[int(digit) for digit in row] for row in rows.split()]


_DINTS_PATHS = """
    1011111010 1111011011 1111111011 1011111110 1111011111 1011111111
    1111010111 1111110011 1111011111 1111011111 1110011111 1100000111
"""
"""Whether each of ten paths is active, block by block (arch_code.pth of Auto3DSeg's template)."""

_DINTS_OPERATIONS = """
    1313212011 1031021243 3002101210 4221211013 1140041111 2000444111
    4300240103 1100340413 1002000011 1423443031 2023020032 4400143021
"""
"""The operation of each path: 0 identity, 1 a convolution of 3x3x3, 2 to 4 factorised ones."""
