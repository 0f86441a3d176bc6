"""nnU-Net 2.8.1's strong augmentation, through batchgeneratorsv2 and with nnU-Net's parameters.

The parameters are those of `nnUNetTrainerDA5.get_training_transforms`, found by looking at what it
returns. GaussianBlur does not time its two ways of computing the same, as in `augmentation`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.local.brightness_gradient import (
    BrightnessGradientAdditiveTransform,
)
from batchgeneratorsv2.transforms.local.local_gamma import LocalGammaTransform
from batchgeneratorsv2.transforms.noise.blank_rectangle import BlankRectangleTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.noise.median_filter import MedianFilterTransform
from batchgeneratorsv2.transforms.noise.sharpen import SharpeningTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
from batchgeneratorsv2.transforms.utils.random import OneOfTransform, RandomTransform

from resenc_plans.training.batches.patch_geometry import SpatialSettings

_NEAR, _BESIDE = -0.5, 1.5
"""Where the middle of a local change may lie, as a share of the image's length."""


def swapped_axes(patch_size: Sequence[int]) -> set[int]:
    """The axes of a patch that may take each other's place: those of the same, commonest length.

    >>> swapped_axes((32, 32, 48)), swapped_axes((8, 16, 24))
    ({0, 1}, set())
    """
    sizes = list(patch_size)
    most = max(map(sizes.count, sizes))
    return {axis for axis, size in enumerate(sizes) if sizes.count(size) == most > 1}


def strong_transforms(patch_size: Sequence[int], settings: SpatialSettings) -> list[BasicTransform]:
    """All that is drawn for a training sample after its spatial transform."""
    mirroring = [MirrorTransform(allowed_axes=settings.mirror_axes)] if settings.mirror_axes else []
    return [
        *_before_mirroring(patch_size, settings),
        *mirroring,
        *_after_mirroring(patch_size),
    ]


def _before_mirroring(patch_size: Sequence[int], settings: SpatialSettings) -> list[BasicTransform]:
    axes = swapped_axes(patch_size)
    turned = [
        _sometimes(0.5, Rot90Transform(1, (0, 1, 2, 3), allowed_axes=axes)),
        _sometimes(0.5, TransposeAxesTransform(allowed_axes=axes)),
    ]
    return [
        *(turned if axes else []),
        OneOfTransform([_sometimes(0.2, _median_filter()), _sometimes(0.2, _blur())]),
        _sometimes(
            0.1,
            GaussianNoiseTransform(
                noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True
            ),
        ),
        _sometimes(
            0.1,
            BrightnessAdditiveTransform(0, 0.5, synchronize_channels=False, p_per_channel=0.5),
        ),
        OneOfTransform(
            [_sometimes(0.2, _contrast(preserve_range=keeps)) for keeps in (True, False)]
        ),
        _sometimes(
            0.15,
            SimulateLowResolutionTransform(
                scale=(0.25, 1),
                synchronize_channels=False,
                synchronize_axes=True,
                ignore_axes=(0,) if settings.plane_wise else None,
                allowed_channels=None,
                p_per_channel=0.5,
            ),
        ),
        *(_sometimes(0.1, _inverted_gamma()) for _ in range(2)),
    ]


def _after_mirroring(patch_size: Sequence[int]) -> list[BasicTransform]:
    rectangle = tuple((max(1, size // 10), size // 3) for size in patch_size)
    return [
        _sometimes(
            0.4,
            BlankRectangleTransform(
                rectangle, torch.mean, (1, 5), force_square=False, p_per_channel=0.5
            ),
        ),
        _sometimes(
            0.3,
            BrightnessGradientAdditiveTransform(
                local_width,
                (_NEAR, _BESIDE),
                max_strength=gradient_strength,
                same_for_all_channels=False,
                mean_centered=False,
                clip_intensities=False,
                p_per_channel=0.5,
            ),
        ),
        _sometimes(
            0.3,
            LocalGammaTransform(
                local_width,
                (_NEAR, _BESIDE),
                local_gamma,
                same_for_all_channels=False,
                p_per_channel=0.5,
            ),
        ),
        _sometimes(
            0.2,
            SharpeningTransform(
                (0.1, 1), p_same_for_each_channel=0, p_per_channel=0.5, p_clamp_intensities=0
            ),
        ),
    ]


def local_width(shape: Sequence[int], axis: int) -> float:
    """A width of a local change, from a sixth of the image's length to the whole."""
    length = shape[axis]
    return float(np.exp(np.random.uniform(np.log(max(1, length // 6)), np.log(length))))


def gradient_strength(*_: object) -> float:
    """How much a gradient darkens or brightens at most."""
    low, high = (-5, -1) if np.random.uniform() < 0.5 else (1, 5)
    return np.random.uniform(low, high)


def local_gamma(*_: object) -> float:
    """An exponent well below 1, or well above."""
    low, high = (0.01, 0.8) if np.random.uniform() < 0.5 else (1.5, 4)
    return np.random.uniform(low, high)


def _sometimes(probability: float, transform: BasicTransform) -> RandomTransform:
    return RandomTransform(transform, apply_probability=probability)


def _median_filter() -> MedianFilterTransform:
    return MedianFilterTransform((2, 8), p_same_for_each_channel=0, p_per_channel=0.5)


def _blur() -> GaussianBlurTransform:
    return GaussianBlurTransform(
        blur_sigma=(0.3, 1.5),
        synchronize_channels=False,
        synchronize_axes=True,
        p_per_channel=0.5,
        benchmark=False,
    )


def _contrast(*, preserve_range: bool) -> ContrastTransform:
    return ContrastTransform(
        contrast_range=BGContrast((0.5, 2)),
        preserve_range=preserve_range,
        synchronize_channels=False,
        p_per_channel=0.5,
    )


def _inverted_gamma() -> GammaTransform:
    return GammaTransform(
        gamma=BGContrast((0.7, 1.5)),
        p_invert_image=1,
        synchronize_channels=False,
        p_per_channel=1,
        p_retain_stats=1,
    )
