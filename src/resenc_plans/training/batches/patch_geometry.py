"""How patches are turned and mirrored, how much is read for that, and where they are compared.

Nothing here loads the augmentation itself, which takes a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

from resenc_plans.plans.training_settings import STANDARD_AUGMENTATION, AugmentationSettings

ANISOTROPY_THRESHOLD = 3
"""A patch whose first axis is this many times shorter than its longest is augmented plane-wise."""

_SMALLEST_SCALE = {"standard": 0.85, "strong": 0.7}
"""By how much nnU-Net supposes a patch to shrink when it decides how much to read."""


@dataclass(frozen=True)
class SpatialSettings:
    """How patches are rotated and mirrored, and how much has to be read for that.

    `rotation` is in radians, the same range for every axis; `read_size` is (z, y, x) or (y, x).
    """

    rotation: tuple[float, float]
    plane_wise: bool
    read_size: tuple[int, ...]
    mirror_axes: tuple[int, ...]


def spatial_settings(
    patch_size: Sequence[int], chosen: AugmentationSettings = STANDARD_AUGMENTATION
) -> SpatialSettings:
    """nnU-Net's choice for a patch size (z, y, x) or (y, x).

    >>> spatial_settings((20, 320, 256)).read_size
    (20, 376, 376)
    """
    dim = len(patch_size)
    is_flat = dim == 3 and max(patch_size) / patch_size[0] > ANISOTROPY_THRESHOLD
    plane_wise = is_flat and chosen.plane_wise
    if dim == 2:
        is_long = max(patch_size) / min(patch_size) > 1.5
        rotation = pi / 12 if is_long else pi
    else:
        rotation = pi if plane_wise else pi / 6
    rotated = tuple(patch_size[1:]) if plane_wise else tuple(patch_size)
    scale = _SMALLEST_SCALE.get(chosen.transforms)
    read = rotated if scale is None else _read_size(rotated, rotation, scale)
    return SpatialSettings(
        (-rotation, rotation),
        plane_wise,
        (patch_size[0], *read) if plane_wise else read,
        mirroring_axes(dim, chosen),
    )


def mirroring_axes(dim: int, chosen: AugmentationSettings) -> tuple[int, ...]:
    """The axes that training mirrors, along which prediction may mirror too."""
    if chosen.transforms == "none" or chosen.mirroring == "none":
        return ()
    return tuple(range(dim if chosen.mirroring == "all" else dim - 1))


def _read_size(patch_size: tuple[int, ...], angle: float, scale: float) -> tuple[int, ...]:
    """What must be read so that a patch turned about each axis by `angle` is covered.

    The patch may be shrunk by the factor `scale`.

    As batchgenerators' `get_patch_size`: the corner's coordinates, turned about one axis at a time.
    """
    angle = min(angle, pi / 2)
    size = list(map(float, patch_size))
    pairs = ((0, 1),) if len(size) == 2 else ((1, 2), (2, 0), (0, 1))
    for first, second in pairs:
        a, b = patch_size[first], patch_size[second]
        size[first] = max(size[first], abs(a * cos(angle) + b * sin(angle)))
        size[second] = max(size[second], abs(b * cos(angle) - a * sin(angle)))
    return tuple(int(length / scale) for length in size)
