import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.unet.layout import layout_of, unet_layout
from tests.networks.configurations import configuration, plain, residual, unet_arguments


@given(st.integers(2, 8), st.integers(2, 3), st.integers(1, 3))
def test_a_number_counts_for_every_stage_and_axis(n_stages: int, dim: int, number: int) -> None:
    single = unet_layout(dim, n_stages, 8, number, number, number, number)
    written = unet_layout(
        dim,
        n_stages,
        [8] * n_stages,
        [[number] * dim] * n_stages,
        [(number,) * dim] * n_stages,
        [number] * n_stages,
        [number] * (n_stages - 1),
    )
    assert single == written
    assert single.divisor == (number**n_stages,) * dim


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": [[1] * 3, [2] * 3]}, "strides has 2 entries, but the network has 3 stages"),
        ({"kernel_sizes": [[3, 3]] * 3}, r"kernel_sizes\[0\] has 2 entries.* 3 image axes"),
        ({"features_per_stage": [8, 16]}, "features_per_stage has 2 entries"),
        ({"n_blocks_per_stage": [1, 3]}, "n_blocks_per_stage has 2 entries"),
        ({"n_conv_per_stage_decoder": [1] * 3}, "3 entries, but the network has 2 decoder stages"),
        ({"n_stages": 1}, "n_stages is 1: a U-Net has at least 2 stages"),
        ({"conv_op": "torch.nn.Conv2d"}, "conv_op is torch.nn.Conv2d, but patch_size has 3 axes"),
        (
            {"strides": [1, 2, [2, 2, 3]]},
            r"patch_size \[16, 16, 16\] is not a multiple of \[4, 4, 6",
        ),
    ],
)
def test_contradictions_name_file_configuration_and_key(changes: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        layout_of(residual(**changes))


def test_a_patch_that_does_not_divide_gets_a_proposal() -> None:
    config = configuration(
        "PlainConvUNet", unet_arguments(2, n_conv_per_stage=2), patch_size=(18, 29)
    )
    with pytest.raises(ConfigurationError, match=r"The nearest that is: \[16, 28\]"):
        layout_of(config)


def test_a_foreign_network_has_no_layout() -> None:
    with pytest.raises(
        ConfigurationError, match=r"mylab\.Net, which is not one of nnU-Net's U-Nets"
    ):
        layout_of(configuration("mylab.Net", {}))


def test_plain_networks_count_convolutions() -> None:
    assert layout_of(plain(n_conv_per_stage=[2, 3, 4])).encoder_depths == (2, 3, 4)
