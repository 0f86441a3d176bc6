from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.errors import ConfigurationError
from resenc_plans.plans.unet import UNet
from tests.networks.configurations import configuration, plain, residual, unet_arguments


@given(st.integers(2, 5), st.integers(2, 3), st.integers(1, 2))
def test_a_number_counts_for_every_stage_and_axis(n_stages: int, dim: int, number: int) -> None:
    kernel = 2 * number - 1

    def read(**sizes: object) -> UNet:
        arguments = unet_arguments(dim, n_stages, **sizes)
        patch_size = (2 * number**n_stages,) * dim
        return UNet.of(configuration("PlainConvUNet", arguments, patch_size))

    single = read(
        features_per_stage=8,
        kernel_sizes=kernel,
        strides=number,
        n_conv_per_stage=number,
        n_conv_per_stage_decoder=number,
    )
    written = read(
        features_per_stage=[8] * n_stages,
        kernel_sizes=[[kernel] * dim] * n_stages,
        strides=[[number] * dim] * n_stages,
        n_conv_per_stage=[number] * n_stages,
        n_conv_per_stage_decoder=[number] * (n_stages - 1),
    )
    assert single == written
    assert hash(single) == hash(written)
    assert single.divisor == (number**n_stages,) * dim


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": [[1] * 3, [2] * 3]}, "strides has 2 entries, 3 are needed for n_stages 3"),
        ({"kernel_sizes": [[3, 3]] * 3}, r"kernel_sizes\[0\] has 2 axes, patch_size has 3"),
        ({"features_per_stage": [8, 16]}, "features_per_stage has 2 entries"),
        ({"n_blocks_per_stage": [1, 3]}, "n_blocks_per_stage has 2 entries"),
        ({"n_conv_per_stage_decoder": [1] * 3}, "3 entries, 2 are needed"),
        ({"n_stages": 1}, "n_stages is 1: a U-Net has at least 2 stages"),
        ({"conv_op": "torch.nn.Conv2d"}, "conv_op is torch.nn.Conv2d, but patch_size has 3 axes"),
        ({"kernel_sizes": 2}, r"kernel_sizes\[0\] is \[2, 2, 2\]: .* odd sizes"),
        ({"kernel_sizes": [3, [3, 4, 3], 3]}, r"kernel_sizes\[1\] is \[3, 4, 3\]"),
        ({"kernel_sizes": [3, 3, 2]}, r"kernel_sizes\[2\] is \[2, 2, 2\]"),
        (
            {"strides": [1, 2, [2, 2, 3]]},
            r"patch_size \[16, 16, 16\] is not a multiple of \[4, 4, 6",
        ),
    ],
)
def test_contradictions_name_file_configuration_and_key(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        UNet.of(residual(**changes))


def test_an_even_kernel_is_kept_where_its_only_convolution_has_a_stride() -> None:
    kernels = [3, 3, [3, 2, 4]]
    assert UNet.of(plain(kernel_sizes=kernels, n_conv_per_stage=[2, 2, 1]))
    bottlenecks: dict[str, Any] = {"block": "BottleneckD", "bottleneck_channels": 4}
    assert UNet.of(residual(kernel_sizes=kernels, n_blocks_per_stage=1, **bottlenecks))
    for config in (
        plain(kernel_sizes=kernels, n_conv_per_stage=2),
        plain(kernel_sizes=kernels, n_conv_per_stage=1, strides=[1, 2, [2, 2, 1]]),
        residual(kernel_sizes=kernels, n_blocks_per_stage=1),
    ):
        with pytest.raises(ConfigurationError, match="loses a voxel"):
            UNet.of(config)


def test_a_patch_that_does_not_divide_gets_a_proposal() -> None:
    config = configuration(
        "PlainConvUNet", unet_arguments(2, n_conv_per_stage=2), patch_size=(18, 29)
    )
    with pytest.raises(ConfigurationError, match=r"The nearest that it takes: \[16, 28\]"):
        UNet.of(config)


def test_a_foreign_network_has_no_blueprint() -> None:
    with pytest.raises(
        ConfigurationError, match=r"mylab\.Net, which is not one of nnU-Net's U-Nets"
    ):
        UNet.of(configuration("mylab.Net", {}))


def test_plain_networks_count_convolutions() -> None:
    assert UNet.of(plain(n_conv_per_stage=[2, 3, 4])).blocks == (2, 3, 4)


def test_shapes_follow_the_strides() -> None:
    unet = UNet.of(residual(strides=[1, [1, 2, 2], 2]))
    assert unet.shapes((16, 16, 16)) == ((16, 16, 16), (16, 8, 8), (8, 4, 4))
