"""nnU-Net 2.8.1's default augmentation, through batchgeneratorsv2 and with nnU-Net's parameters.

The parameters are those of `nnUNetTrainer.get_training_transforms`. One value differs: GaussianBlur
does not time its two ways of computing the same, since the clock would decide about the last digits
and a resumed run see other batches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from batchgeneratorsv2.helpers.scalar_type import RandomScalar
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import (
    Convert2DTo3DTransform,
    Convert3DTo2DTransform,
)
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from torch import Tensor

from resenc_plans.datasets.labels import Labels
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.training_settings import STANDARD_AUGMENTATION, AugmentationSettings
from resenc_plans.training.batches.label_sampling import LabelwiseSpatialTransform
from resenc_plans.training.batches.patch_geometry import SpatialSettings
from resenc_plans.training.batches.strong_augmentation import strong_transforms


def spatial_transform(
    patch_size: Sequence[int],
    settings: SpatialSettings,
    chosen: AugmentationSettings = STANDARD_AUGMENTATION,
) -> LabelwiseSpatialTransform:
    """Rotation and scaling of one patch; plane-wise it takes and gives two axes."""
    size = tuple(patch_size[1:]) if settings.plane_wise else tuple(patch_size)
    is_strong = chosen.transforms == "strong"
    return LabelwiseSpatialTransform(
        size,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=0,
        p_rotation=0.4 if is_strong else 0.2,
        rotation=settings.rotation,
        p_rot_per_axis=0.5 if is_strong else 1,
        p_scaling=0.2,
        scaling=(0.7, 1.43) if is_strong else (0.7, 1.4),
        p_synchronize_scaling_across_axes=0 if is_strong else 1,
        bg_style_seg_sampling=False,
        mode_image="nearest" if chosen.nearest_images else "bilinear",
        mode_seg="nearest" if chosen.nearest_labels else "bilinear",
        border_mode_seg="constant",
        padding_value_seg=-1,
    )


def intensity_transforms(settings: SpatialSettings) -> list[BasicTransform]:
    """Noise, blur, brightness, contrast, low resolution, gamma, each with its probability."""
    contrast: RandomScalar = BGContrast((0.75, 1.25))
    gamma: RandomScalar = BGContrast((0.7, 1.5))
    return [
        RandomTransform(
            GaussianNoiseTransform(
                noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True
            ),
            apply_probability=0.1,
        ),
        RandomTransform(
            GaussianBlurTransform(
                blur_sigma=(0.5, 1.0),
                synchronize_channels=False,
                synchronize_axes=False,
                p_per_channel=0.5,
                benchmark=False,
            ),
            apply_probability=0.2,
        ),
        RandomTransform(
            MultiplicativeBrightnessTransform(
                multiplier_range=contrast, synchronize_channels=False, p_per_channel=1
            ),
            apply_probability=0.15,
        ),
        RandomTransform(
            ContrastTransform(
                contrast_range=contrast,
                preserve_range=True,
                synchronize_channels=False,
                p_per_channel=1,
            ),
            apply_probability=0.15,
        ),
        RandomTransform(
            SimulateLowResolutionTransform(
                scale=(0.5, 1),
                synchronize_channels=False,
                synchronize_axes=True,
                ignore_axes=(0,) if settings.plane_wise else None,
                allowed_channels=None,
                p_per_channel=0.5,
            ),
            apply_probability=0.25,
        ),
        *(
            RandomTransform(
                GammaTransform(
                    gamma=gamma,
                    p_invert_image=inverted,
                    synchronize_channels=False,
                    p_per_channel=1,
                    p_retain_stats=1,
                ),
                apply_probability=probability,
            )
            for inverted, probability in ((1, 0.1), (0, 0.3))
        ),
    ]


def random_transforms(settings: SpatialSettings) -> list[BasicTransform]:
    """All that is drawn for a training sample after its spatial transform, mirroring last."""
    transforms = intensity_transforms(settings)
    if settings.mirror_axes:
        transforms.append(MirrorTransform(allowed_axes=settings.mirror_axes))
    return transforms


def masked_channels(config: ResolvedConfiguration) -> list[int]:
    """Channels that are 0 outside the case, where nonzero voxels alone were normalised."""
    return [channel for channel, use in enumerate(config.use_mask_for_norm) if use]


def training_transforms(
    config: ResolvedConfiguration,
    labels: Labels,
    settings: SpatialSettings,
    chosen: AugmentationSettings = STANDARD_AUGMENTATION,
) -> ComposeTransforms:
    """All that follows the spatial transform of a training sample.

    nnU-Net's next transform makes the targets of deep supervision; here `TrainingStep` does.
    """
    is_strong = chosen.transforms == "strong"
    transforms = (
        strong_transforms(config.patch_size, settings) if is_strong else random_transforms(settings)
    )
    masked = masked_channels(config)
    if masked:
        transforms.append(
            MaskImageTransform(apply_to_channels=masked, channel_idx_in_seg=0, set_outside_to=0)
        )
    transforms.append(RemoveLabelTransform(-1, 0))
    if config.previous_stage is not None:
        transforms += _previous_stage(labels, augmented=True)
    return ComposeTransforms([*transforms, *_target_transforms(labels)])


def validation_transforms(config: ResolvedConfiguration, labels: Labels) -> ComposeTransforms:
    """What a sample of the validation goes through: no augmentation."""
    transforms: list[BasicTransform] = [RemoveLabelTransform(-1, 0)]
    if config.previous_stage is not None:
        transforms += _previous_stage(labels, augmented=False)
    return ComposeTransforms([*transforms, *_target_transforms(labels)])


def previous_stage_channels(labels: Labels, previous: Tensor) -> Tensor:
    """The augmented one-hot channels (labels, *patch) of a previous stage's labels (*patch)."""
    transform = ComposeTransforms(_previous_stage(labels, augmented=True))
    nothing = torch.empty((0, *previous.shape))
    made = transform(image=nothing, segmentation=torch.stack([previous, previous]))
    channels: Tensor = made["image"]
    return channels


def plane_wise(transform: BasicTransform) -> ComposeTransforms:
    """A two-dimensional transform, applied to all planes of a patch alike."""
    return ComposeTransforms([Convert3DTo2DTransform(), transform, Convert2DTo3DTransform()])


def _previous_stage(labels: Labels, *, augmented: bool) -> list[BasicTransform]:
    """The previous stage's segmentation becomes input channels, one per foreground label."""
    foreground = list(labels.foreground_labels)
    moved: list[BasicTransform] = [
        MoveSegAsOneHotToDataTransform(
            source_channel_idx=1, all_labels=foreground, remove_channel_from_source=True
        )
    ]
    if not augmented:
        return moved
    from batchgeneratorsv2.transforms.nnunet.random_binary_operator import (
        ApplyRandomBinaryOperatorTransform,
    )
    from batchgeneratorsv2.transforms.nnunet.remove_connected_components import (
        RemoveRandomConnectedComponentFromOneHotEncodingTransform,
    )

    channels = list(range(-len(foreground), 0))
    return [
        *moved,
        RandomTransform(
            ApplyRandomBinaryOperatorTransform(
                channel_idx=channels, strel_size=(1, 8), p_per_label=0.5
            ),
            apply_probability=0.4,
        ),
        RandomTransform(
            RemoveRandomConnectedComponentFromOneHotEncodingTransform(
                channel_idx=channels,
                fill_with_other_class_p=0,
                dont_do_if_covers_more_than_x_percent=0.15,
                p_per_label=0.5,
            ),
            apply_probability=0.2,
        ),
    ]


def _target_transforms(labels: Labels) -> list[BasicTransform]:
    regions: list[Any] = target_regions(labels)
    return [ConvertSegmentationToRegionsTransform(regions, channel_in_seg=0)] if regions else []


def target_regions(labels: Labels) -> list[list[int]]:
    """The labels of each region of a target, the ignored voxels last; none without regions."""
    if labels.regions is None:
        return []
    regions = [list(region) if isinstance(region, tuple) else [region] for region in labels.regions]
    return regions if labels.ignore_label is None else [*regions, [labels.ignore_label]]
