"""Resolved configurations for tests: a whole plans file around an architecture."""

from typing import Any

from resenc_plans.plans.architectures import PLAIN_CONV_UNET, RESIDUAL_ENCODER_UNET
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import resolutions_of
from resenc_plans.plans.plans import Plans

RESAMPLING = "resample_data_or_seg_to_shape"


def configuration(
    network_class_name: str,
    arch_kwargs: dict[str, Any],
    patch_size: tuple[int, ...] = (16, 16, 16),
    requires_import: tuple[str, ...] = ("conv_op", "norm_op", "dropout_op", "nonlin"),
) -> ResolvedConfiguration:
    """The configuration `tested` of `plans.json` with this network."""
    values: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_tested",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_size),
        "median_image_size_in_voxels": [float(size) for size in patch_size],
        "spacing": [1.0] * len(patch_size),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": network_class_name,
            "arch_kwargs": arch_kwargs,
            "_kw_requires_import": list(requires_import),
        },
        "batch_dice": False,
    }
    for what in ("data", "seg", "probabilities"):
        values[f"resampling_fn_{what}"] = RESAMPLING
        values[f"resampling_fn_{what}_kwargs"] = {"is_seg": what == "seg", "order": 1}
    return Plans.from_dict({"configurations": {"tested": values}}, "plans.json").resolve("tested")


def unet_arguments(dim: int = 3, n_stages: int = 3, **changes: Any) -> dict[str, Any]:
    """Arguments that a planner could have written for a small U-Net, with changes."""
    return {
        "n_stages": n_stages,
        "features_per_stage": [min(8 * 2**stage, 16) for stage in range(n_stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "kernel_sizes": [[3] * dim] * n_stages,
        "strides": [[1] * dim, *[[2] * dim] * (n_stages - 1)],
        "n_conv_per_stage_decoder": [1] * (n_stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    } | changes


def residual(dim: int = 3, n_stages: int = 3, **changes: Any) -> ResolvedConfiguration:
    """A small residual-encoder U-Net."""
    blocks = {"n_blocks_per_stage": [1, 3, 4, 6, 6, 6][:n_stages]}
    arguments = unet_arguments(dim, n_stages, **(blocks | changes))
    return configuration(RESIDUAL_ENCODER_UNET, arguments, (16,) * dim)


def plain(dim: int = 3, n_stages: int = 3, **changes: Any) -> ResolvedConfiguration:
    """A small plain U-Net."""
    arguments = unet_arguments(dim, n_stages, **({"n_conv_per_stage": [2] * n_stages} | changes))
    return configuration(PLAIN_CONV_UNET, arguments, (16,) * dim)


def output_shapes(config: ResolvedConfiguration, batch: int, heads: int) -> list[tuple[int, ...]]:
    """Shapes of the logits that training expects of a network with deep supervision."""
    return [
        (
            batch,
            heads,
            *(round(size * of) for size, of in zip(config.patch_size, scale, strict=True)),
        )
        for scale in resolutions_of(config).output_scales
    ]
