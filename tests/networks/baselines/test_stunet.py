from typing import Any

import pytest
import torch

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from tests.networks.configurations import configuration, output_shapes

PUBLISHED_MILLIONS = {"S": 14.60, "B": 58.26, "L": 440.30, "H": 1457.33}


@pytest.mark.parametrize("variant", PUBLISHED_MILLIONS)
def test_sizes_are_the_published_ones(variant: str) -> None:
    config = configuration("STUNet", {"variant": variant}, (128, 128, 128))
    with torch.device("meta"):
        network = build_network(config, 1, 105)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS[variant], abs=0.006)


def test_parameters_carry_the_names_of_the_published_weights() -> None:
    config = configuration(
        "resenc_plans.networks.baselines.stunet.STUNet", {"variant": "S"}, (32, 32, 64)
    )
    names = list(build_network(config, 1, 105).state_dict())
    assert names[0] == "conv_blocks_context.0.0.conv1.weight"
    assert "conv_blocks_context.1.0.conv3.bias" in names
    assert "upsample_layers.0.conv.weight" in names
    assert "conv_blocks_localization.4.0.norm2.bias" in names
    assert names[-1] == "seg_outputs.4.bias"


def test_strides_follow_the_plans() -> None:
    strides = [1, [1, 2, 2], 2, 2, 2, [1, 2, 2]]
    config = configuration("STUNet", {"variant": "S", "strides": strides}, (8, 32, 64))
    logits = build_network(config, 1, 2)(torch.zeros(1, 1, 8, 32, 64))
    assert [tuple(y.shape[2:]) for y in logits] == [
        (8, 32, 64),
        (8, 16, 32),
        (4, 8, 16),
        (2, 4, 8),
        (1, 2, 4),
    ]
    assert [y.shape for y in logits] == output_shapes(config, 1, 2)


def test_without_deep_supervision_there_is_one_tensor() -> None:
    config = configuration("STUNet", {"variant": "S"}, (32, 32, 64))
    network = build_network(config, 1, 2, deep_supervision=False)
    assert network(torch.zeros(1, 1, 32, 32, 64)).shape == (1, 2, 32, 32, 64)


def test_a_narrow_one_is_a_sixteenth_of_the_size() -> None:
    def count(**arguments: Any) -> int:
        config = configuration("STUNet", {"variant": "B"} | arguments, (32, 32, 64))
        with torch.device("meta"):
            return sum(p.numel() for p in build_network(config, 1, 2).parameters())

    assert count() == count(width=32)
    assert count() / count(width=8) == pytest.approx(16, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "patch_size", "message"),
    [
        ({"variant": "XL"}, (32, 32, 64), "variant is 'XL': STU-Net comes as S, B, L, H"),
        ({"strides": 2}, (64, 64, 128), r"strides\[0\] must be 1"),
        ({"strides": [1, 2]}, (32, 32, 64), "strides has 2 entries"),
        ({"wide": 2}, (32, 32, 64), "unexpected keyword argument 'wide'"),
        ({"width": 0}, (32, 32, 64), "width is 0: a whole number from 1 on"),
        ({"width": 2.5}, (32, 32, 64), "width is 2.5"),
        ({}, (32, 32, 48), r"patch_size \[32, 32, 48\] is not a multiple"),
        ({}, (32, 32), "patch_size has 2 axes, but STUNet is for images of 3"),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: dict[str, Any], patch_size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(configuration("STUNet", arguments, patch_size), 1, 2)
