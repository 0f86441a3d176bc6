"""The closed formula of the feature-map count, against networks that torch builds."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resenc_plans.cost.feature_maps import count_feature_maps
from resenc_plans.plans.unet import Operators, UNet

TOPOLOGIES = 150

COUNT_ALL = """
import json, sys
import torch
from torch import nn
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
counts = []
for case in json.load(open(sys.argv[1])):
    dim = len(case["patch_size"])
    arguments = dict(
        input_channels=case["input_channels"],
        n_stages=len(case["strides"]),
        features_per_stage=case["features"],
        conv_op=nn.Conv2d if dim == 2 else nn.Conv3d,
        kernel_sizes=3,
        strides=case["strides"],
        num_classes=case["heads"],
        n_conv_per_stage_decoder=case["decoder_convs"],
        norm_op=nn.InstanceNorm2d if dim == 2 else nn.InstanceNorm3d,
        nonlin=nn.LeakyReLU,
        deep_supervision=case["deep_supervision"],
    )
    with torch.device("meta"):
        if case["kind"] == "residual":
            network = ResidualEncoderUNet(n_blocks_per_stage=case["blocks"], **arguments)
        else:
            network = PlainConvUNet(n_conv_per_stage=case["blocks"], **arguments)
    counts.append(int(network.compute_conv_feature_map_size(case["patch_size"])))
json.dump(counts, open(sys.argv[2], "w"))
"""


def random_topology(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    dim, stages = rng.choice([2, 3]), rng.randint(2, 7)
    strides = [[rng.choice([1, 2]) for _ in range(dim)] for _ in range(stages)]
    strides[0] = [1] * dim
    return {
        "kind": rng.choice(["residual", "plain"]),
        "patch_size": [rng.choice([32, 48, 64, 96, 128]) for _ in range(dim)],
        "strides": strides,
        "features": [rng.choice([8, 16, 32, 320]) for _ in range(stages)],
        "blocks": [rng.randint(1, 6) for _ in range(stages)],
        "decoder_convs": [rng.randint(1, 3) for _ in range(stages - 1)],
        "heads": rng.choice([1, 2, 5, 60]),
        "input_channels": rng.randint(1, 4),
        "deep_supervision": rng.random() < 0.5,
    }


def test_the_count_equals_torch_s_on_random_topologies(
    peer: Callable[..., str], tmp_path: Path
) -> None:
    cases = [random_topology(seed) for seed in range(TOPOLOGIES)]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    peer(COUNT_ALL, tmp_path / "cases.json", tmp_path / "counts.json")
    expected = json.loads((tmp_path / "counts.json").read_text())
    for case, count in zip(cases, expected, strict=True):
        unet = UNet(
            kind=case["kind"],
            strides=tuple(map(tuple, case["strides"])),
            kernel_sizes=((3,) * len(case["patch_size"]),) * len(case["strides"]),
            features=tuple(case["features"]),
            blocks=tuple(case["blocks"]),
            decoder_convolutions=tuple(case["decoder_convs"]),
            operators=Operators("torch.nn.Conv3d"),
        )
        ours = count_feature_maps(
            unet, case["patch_size"], case["heads"], deep_supervision=case["deep_supervision"]
        )
        assert ours == count, case
