"""What a network costs, whatever its class."""

import pytest

from resenc_plans.cli.measurement import Network
from resenc_plans.cli.pricing import price
from resenc_plans.cost.estimate import Cost
from resenc_plans.profiling.trace import trace_cost
from tests.networks.configurations import configuration, residual


def test_a_unet_is_estimated() -> None:
    assert isinstance(price(Network(residual(), 1, 3, regions=False), 1), Cost)


@pytest.mark.slow
def test_any_other_network_is_traced() -> None:
    strides = [1, 2, 2, 2, 1, 1]
    config = configuration("STUNet", {"variant": "S", "strides": strides}, (16, 16, 16))
    assert price(Network(config, 1, 3, regions=True), 1) == trace_cost(config, 1, 3, regions=True)
