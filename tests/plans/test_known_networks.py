"""What is known of each network: rules of its patch, axes, heads. None is built."""

from typing import Any

import pytest

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.known_networks import (
    KnownNetwork,
    Resolutions,
    check_patch,
    find_network,
    is_head,
    register_network,
    resolutions_of,
)
from tests.networks.configurations import configuration, plain

MONAI = "monai.networks.nets"
BASELINES = "resenc_plans.networks.baselines"
MEDNEXT = f"{BASELINES}.mednext.MedNeXt"
UMAMBA = f"{BASELINES}.umamba.UMamba"

NEAREST = [
    ("STUNet", {}, (32, 32, 32), (32, 32, 64)),
    ("STUNet", {"strides": [1, [1, 2, 2], 2, 2, 2, 2]}, (16, 64, 40), (16, 64, 32)),
    (MEDNEXT, {}, (16, 16, 16), (16, 16, 32)),
    (UMAMBA, {"strides": [1, [1, 2, 2], 2]}, (5, 8, 8), (4, 8, 8)),
    (UMAMBA, {"strides": [1, [1, 2, 2], 2]}, (2, 4, 4), (4, 4, 4)),
    (
        UMAMBA,
        {"strides": [1, 2], "variant": "enc", "generation": 2, "patch_size": [8, 8, 8]},
        (16, 16, 16),
        (8, 8, 8),
    ),
    (f"{BASELINES}.nnformer.NNFormer", {}, (96, 96, 96), (128, 128, 128)),
    (f"{BASELINES}.nnformer.NNFormer", {"patch_size": 64}, (128, 64, 64), (64, 64, 64)),
    (f"{BASELINES}.cotr.CoTr", {}, (20, 40, 48), (16, 32, 48)),
    (f"{BASELINES}.cotr.CoTr", {}, (8, 16, 16), (16, 16, 16)),
    (f"{MONAI}.MedNeXtS", {}, (20, 16, 32), (16, 16, 32)),
    (f"{MONAI}.SwinUNETR", {"feature_size": 48}, (32, 32, 32), (32, 32, 64)),
    (f"{MONAI}.swin_unetr.SwinUNETR", {"feature_size": 48}, (20, 160, 160), (32, 160, 160)),
    (f"{MONAI}.SegResNetDS", {"norm": "INSTANCE", "resolution": [4, 1, 1]}, (2, 8, 8), (4, 8, 8)),
    (f"{MONAI}.SegResNetDS", {"norm": ["instance", {}]}, (8, 8, 8), (8, 8, 16)),
    (f"{MONAI}.DiNTS", {"num_depths": 4}, (40, 64, 96), (32, 64, 96)),
]


@pytest.mark.parametrize(("name", "arguments", "patch_size", "nearest"), NEAREST)
def test_a_patch_that_a_network_does_not_take_is_refused_with_the_nearest(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...], nearest: tuple[int, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="patch_size") as refused:
        check_patch(configuration(name, arguments, patch_size))
    assert f"The nearest that it takes: {list(nearest)}." in str(refused.value)
    check_patch(configuration(name, arguments, nearest))


@pytest.mark.parametrize(
    ("name", "arguments", "patch_size"),
    [
        (f"{MONAI}.SwinUNETR", {"feature_size": 48, "norm_name": "batch"}, (32, 32, 32)),
        (f"{MONAI}.SegResNet", {}, (8, 8, 8)),
        (f"{MONAI}.SegResNetDS", {}, (8, 8, 8)),
        ("mylab.nets.Unknown", {}, (7, 5, 3)),
    ],
)
def test_a_single_voxel_is_enough_for_other_normalisations(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...]
) -> None:
    check_patch(configuration(name, arguments, patch_size))


def test_a_u_net_s_single_voxel_is_too_small_for_instance_normalisation_only() -> None:
    with pytest.raises(ConfigurationError, match=r"one voxel.*: \[16, 16, 32\]"):
        resolutions_of(plain(n_stages=5))
    other = plain(n_stages=5, norm_op="torch.nn.BatchNorm3d")
    assert resolutions_of(other).patch_rule.multiples == (16, 16, 16)


@pytest.mark.parametrize("name", ["STUNet", MEDNEXT])
def test_networks_of_three_axes_are_not_for_2d(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"patch_size has 2 axes, but .* images of 3"):
        check_patch(configuration(name, {}, (64, 64)))


@pytest.mark.parametrize(
    ("name", "parameter", "expected"),
    [
        ("mylab.nets.Unknown", "decoder.seg_layers.2.bias", True),
        ("mylab.nets.Unknown", "out.conv.weight", False),
        (MEDNEXT, "out_4.conv_out.weight", True),
        (UMAMBA, "decoder.seg_layers.1.bias", True),
        (f"{BASELINES}.nnformer.NNFormer", "final.2.up.weight", True),
        (f"{BASELINES}.cotr.CoTr", "decoder.heads.0.weight", True),
        (f"{BASELINES}.cotr.CoTr", "decoder.upsampling.0.weight", False),
        (MEDNEXT, "enc_block_0.0.conv1.weight", False),
        (f"{MONAI}.mednext.MedNeXtS", "out_blocks.3.conv_out.bias", True),
        (f"{MONAI}.SwinUNETR", "decoder1.transp_conv.conv.weight", False),
    ],
)
def test_heads_are_known_by_the_names_of_their_parameters(
    name: str, parameter: str, expected: bool
) -> None:
    assert is_head(parameter, name) is expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SwinUNETR", {"norm_name": {}}),
        ("SwinUNETR", {"norm_name": [1]}),
        ("SwinUNETR", {"patch_size": "2"}),
        ("SwinUNETR", {"patch_size": 0}),
        ("SegResNetDS", {"resolution": [1, 1]}),
        ("DiNTS", {"num_depths": -3}),
        ("DiNTS", {"num_depths": 10**9}),
    ],
)
def test_arguments_that_make_no_resolutions_are_an_error_in_words(
    name: str, arguments: dict[str, Any]
) -> None:
    config = configuration(f"{MONAI}.{name}", arguments, (64, 64, 64))
    with pytest.raises(ConfigurationError, match="do not fit"):
        check_patch(config)


def test_a_network_of_monais_is_found_by_every_import_path() -> None:
    network = KnownNetwork(lambda config: Resolutions(((1,) * config.dim,), 1))
    register_network("monai.networks.nets.own.Own", network)
    assert find_network("monai.networks.nets.Own") is network
    assert find_network("monai.networks.nets.own.Own") is network
