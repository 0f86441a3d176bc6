"""Plans documents for tests: small, complete, like nnU-Net's."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SETTINGS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}

CONFIGURATION: dict[str, Any] = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [32, 64, 64],
    "median_image_size_in_voxels": [36.0, 50.0, 35.0],
    "spacing": [1.0, 1.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": SETTINGS,
    "resampling_fn_seg_kwargs": SETTINGS | {"is_seg": True, "order": 1},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": SETTINGS | {"order": 1},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet"
        ".ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [32, 64, 128],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
            "n_blocks_per_stage": [1, 3, 4],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    },
    "batch_dice": False,
}

OLD_CONFIGURATION: dict[str, Any] = {
    key: value for key, value in CONFIGURATION.items() if key != "architecture"
} | {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "num_pool_per_axis": [2, 2, 2],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "unet_max_num_features": 320,
}


def document(**configurations: dict[str, Any]) -> dict[str, Any]:
    """A plans document with `3d_fullres` and the configurations given, `a_b` for name `a_b`."""
    return deepcopy(
        {
            "dataset_name": "Dataset004_Hippocampus",
            "plans_name": "nnUNetResEncUNetMPlans",
            "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
            "original_median_shape_after_transp": [36, 50, 35],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {"3d_fullres": CONFIGURATION, **configurations},
            "experiment_planner_used": "nnUNetPlannerResEncM",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {
                "0": {
                    "max": 486420.21875,
                    "mean": 22360.0,
                    "median": 362.0,
                    "min": 0.0,
                    "percentile_00_5": 28.0,
                    "percentile_99_5": 277682.0,
                    "std": 60656.0,
                }
            },
        }
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)

_names = st.sampled_from(["a", "b", "c", "d", "e"])

inheritance_trees = st.dictionaries(
    _names,
    st.builds(
        lambda parent, values: values | ({"inherits_from": parent} if parent else {}),
        st.none() | st.sampled_from(["a", "b", "c", "d", "e", "missing"]),
        st.dictionaries(st.sampled_from(["w", "x", "y", "z"]), st.integers(0, 9), max_size=4),
    ),
    min_size=1,
)
"""Configurations that inherit from each other at random: chains, circles, missing parents."""


def plans_files(shared: Path) -> list[Path]:
    """All plans files among the shared data."""
    paths = []
    for path in sorted([*shared.glob("corpus/*/*.json"), *shared.glob("oracle/*/*.json")]):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict) and "configurations" in content:
            paths.append(path)
    assert len(paths) > 200
    return paths
