from typing import Any

import pytest

from resenc_plans.cost.estimate import estimate_cost
from resenc_plans.errors import ConfigurationError
from tests.networks.configurations import configuration, residual


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": [1, 2]}, "strides has 2 entries, 3 are needed for n_stages 3"),
        ({"features_per_stage": [8, 16]}, "features_per_stage has 2 entries"),
        ({"strides": [1, 2, 16]}, r"patch_size \[16, 16, 16\] is not a multiple of \[32, 32, 32\]"),
        ({"conv_op": "torch.nn.modules.conv.Conv2d"}, "conv_op is .* but patch_size has 3 axes"),
        ({"norm_op": "torch.nn.GroupNorm"}, "norm_op is torch.nn.GroupNorm"),
        ({"kernel_sizes": [[3, 3]] * 3}, r"kernel_sizes\[0\] has 2 axes, patch_size has 3"),
        ({"block": "BottleneckD"}, "bottleneck_channels is missing"),
    ],
)
def test_a_contradiction_is_named_with_configuration_and_key(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"tested: .*{message}"):
        estimate_cost(residual(**changes), 1, 2)


@pytest.mark.parametrize(("channels", "heads"), [(0, 2), (1, 0), (1, -1), (True, 2)])
def test_a_network_without_channels_or_heads_is_refused(channels: int, heads: int) -> None:
    with pytest.raises(ConfigurationError, match="an integer from 1 to 65,536 is needed"):
        estimate_cost(residual(), channels, heads)


def test_another_network_has_no_closed_form() -> None:
    with pytest.raises(ConfigurationError, match="is not one of nnU-Net's U-Nets"):
        estimate_cost(configuration("mylab.nets.MyUNet", {}), 1, 2)


def test_a_batch_smaller_than_the_number_of_gpus_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch_size 2 cannot be split over 3 GPUs"):
        estimate_cost(residual(), 1, 2, gpus=3)
