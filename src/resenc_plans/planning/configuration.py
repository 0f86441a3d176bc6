"""A planned configuration as nnU-Net writes it: key order and number types included."""

from collections.abc import Sequence
from typing import Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.fingerprint import Fingerprint
from resenc_plans.planning.fitting import FittedNetwork
from resenc_plans.planning.resampling import Resampling, resampling_document
from resenc_plans.plans.architectures import LAYERS, PLAIN_CONV_UNET, RESIDUAL_ENCODER_UNET
from resenc_plans.plans.frozen import thaw
from resenc_plans.plans.unet import UNet

_SCHEMES = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "zscore": "ZScoreNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}
"""Channel names that choose a normalisation; every other name stands for a z-score."""

MASK_THRESHOLD = 3 / 4
"""Where cropping leaves less than this of the images, statistics are taken inside the mask."""


def normalization_schemes(dataset: DatasetJson) -> tuple[str, ...]:
    """The normalisation class of each channel, by the channel's name in any case."""
    return tuple(
        _SCHEMES.get(name.casefold(), _SCHEMES["zscore"]) for name in dataset.channel_names.values()
    )


def use_mask_for_normalization(
    schemes: Sequence[str], fingerprint: Fingerprint
) -> tuple[bool, ...]:
    """Per channel, whether statistics are taken inside the nonzero mask alone."""
    is_cropped = fingerprint.median_relative_size_after_cropping < MASK_THRESHOLD
    return tuple(is_cropped and scheme == _SCHEMES["zscore"] for scheme in schemes)


def configuration_document(
    network: FittedNetwork,
    *,
    data_identifier: str,
    resampling: Resampling,
    spacing: Sequence[float],
    median_shape: Sequence[float],
    schemes: Sequence[str],
    masks: Sequence[bool],
) -> dict[str, Any]:
    """The JSON object of a configuration, but for `batch_dice` and the cascade's keys."""
    return {
        "data_identifier": data_identifier,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": network.batch_size,
        "patch_size": list(network.patch_size),
        "median_image_size_in_voxels": list(median_shape),
        "spacing": list(spacing),
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": list(masks),
        **resampling_document(resampling),
        "architecture": unet_architecture(network.unet),
    }


def unet_architecture(unet: UNet) -> dict[str, Any]:
    """The `architecture` of a U-Net."""
    residual, operators = unet.kind == "residual", unet.operators
    return {
        "network_class_name": RESIDUAL_ENCODER_UNET if residual else PLAIN_CONV_UNET,
        "arch_kwargs": {
            "n_stages": unet.n_stages,
            "features_per_stage": list(unet.features),
            "conv_op": operators.conv_op,
            "kernel_sizes": thaw(unet.kernel_sizes),
            "strides": thaw(unet.strides),
            "n_blocks_per_stage" if residual else "n_conv_per_stage": list(unet.blocks),
            "n_conv_per_stage_decoder": list(unet.decoder_convolutions),
            "conv_bias": operators.conv_bias,
            "norm_op": operators.norm_op,
            "norm_op_kwargs": thaw(operators.norm_op_kwargs),
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": operators.nonlin,
            "nonlin_kwargs": thaw(operators.nonlin_kwargs),
        },
        "_kw_requires_import": [*LAYERS],
    }
