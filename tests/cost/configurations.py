"""Configurations to price: those of the oracle, and small ones with every variant of arguments."""

from pathlib import Path
from typing import Any

from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.labels import Labels
from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.plans import Plans
from tests.networks.configurations import plain, residual

BOTTLENECK = "dynamic_network_architectures.building_blocks.residual.BottleneckD"

VARIANTS: dict[str, dict[str, Any]] = {
    "no normalisation": {"norm_op": None, "norm_op_kwargs": None},
    "batch normalisation": {
        "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",
        "norm_op_kwargs": {},
    },
    "normalisation without scale": {"norm_op_kwargs": {"affine": False}},
    "no bias": {"conv_bias": False},
    "activation beside its input": {"nonlin_kwargs": {"inplace": False}},
    "ReLU": {"nonlin": "torch.nn.ReLU", "nonlin_kwargs": {}},
    "PReLU": {"nonlin": "torch.nn.PReLU", "nonlin_kwargs": {}},
    "no activation": {"nonlin": None, "nonlin_kwargs": None},
    "strides by axis": {"strides": [1, [1, 2, 2], [2, 2, 1]], "kernel_sizes": [[1, 3, 3], 3, 3]},
    "one number for all": {"features_per_stage": 8, "n_conv_per_stage_decoder": 2},
    "dropout of channels": {
        "dropout_op": "torch.nn.modules.dropout.Dropout3d",
        "dropout_op_kwargs": {"p": 0.2},
    },
}
IN_PLAIN = ("no normalisation", "activation beside its input", "ReLU")


def variants() -> dict[str, ResolvedConfiguration]:
    """Both U-Nets with variants of the arguments that both know."""
    found = {"plain": plain(), "plain 2D": plain(2), "2D": residual(2)}
    found |= {f"plain, {name}": plain(**VARIANTS[name]) for name in IN_PLAIN}
    found["plain, activation first"] = plain(nonlin_first=True)
    found |= {name: residual(**changes) for name, changes in VARIANTS.items()}
    found["a wider stem"] = residual(stem_channels=12)
    return found


def residual_variants_of_ours() -> dict[str, ResolvedConfiguration]:
    """Residual encoders with arguments that we spell in our way."""
    return {
        "bottleneck blocks": residual(block=BOTTLENECK, bottleneck_channels=[4, 8, 8]),
        "squeeze and excitation": residual(squeeze_excitation=True),
        "stochastic depth": residual(stochastic_depth_p=0.2),
    }


def of_oracle(
    shared: Path, dataset: str, planner: str, name: str = "3d_fullres"
) -> tuple[ResolvedConfiguration, int, int]:
    """A configuration that nnU-Net planned, its input channels and output heads."""
    folder = shared / "oracle" / "planning"
    described = DatasetJson.load(folder / f"{dataset}__dataset.json")
    config = Plans.load(folder / f"{dataset}__{planner}.json").resolve(name)
    return config, len(described.channel_names), Labels.from_dataset(described).num_heads
