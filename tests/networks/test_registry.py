"""Which networks can be built is known before anything is imported."""

import pytest

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.registry import architecture_names, refuse_unknown
from tests.networks.configurations import configuration, residual


def test_every_network_that_can_be_built_is_known_without_building() -> None:
    for name in architecture_names():
        refuse_unknown(configuration(name, {}), ())
    refuse_unknown(residual(), ())
    refuse_unknown(configuration("mylab.nets.Own", {}), ("mylab",))


def test_a_wrong_name_is_refused_as_the_build_refuses_it() -> None:
    config = configuration("dynamic_network_architectures.unet.ResidualEncoderUnet", {})
    messages = []
    for refuse in (lambda: refuse_unknown(config, ()), lambda: build_network(config, 1, 2)):
        with pytest.raises(
            ConfigurationError, match=r"Did you mean .*\.ResidualEncoderUNet\?"
        ) as e:
            refuse()
        messages.append(str(e.value))
    assert messages[0] == messages[1]
