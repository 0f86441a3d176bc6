"""What training would refuse in its first step is refused before it, without memory."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.check import check_network
from resenc_plans.plans.architectures import RESIDUAL_ENCODER_UNET
from resenc_plans.plans.configuration import ResolvedConfiguration
from tests.networks.configurations import configuration, residual, unet_arguments

NETS = """
import torch
from torch import nn

class Good(nn.Sequential):
    def __init__(self, input_channels, num_classes, deep_supervision):
        super().__init__(nn.Conv3d(input_channels, num_classes, 1))

class Small(Good):
    def forward(self, x):
        return super().forward(x)[..., ::2]

class Mapping(Good):
    def forward(self, x):
        return {"logits": super().forward(x)}

class OneHead(nn.Conv3d):
    def __init__(self, input_channels, num_classes, deep_supervision):
        super().__init__(input_channels, 1, 1)

class Skips(Good):
    def forward(self, x):
        return super().forward(x) + nn.functional.interpolate(x[..., ::5], scale_factor=5)

class Decides(Good):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else -super().forward(x)
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "checked_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("checked_nets", None)


def own(name: str) -> ResolvedConfiguration:
    return configuration(f"checked_nets.{name}", {}, requires_import=())


def test_a_u_net_is_built_without_memory_and_its_outputs_are_known() -> None:
    config = residual()
    checked = check_network(config, 1, 2)
    network = build_network(config, 1, 2)
    assert checked.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert checked.outputs == ((16, 16, 16), (8, 8, 8))
    alone = check_network(config, 1, 2, deep_supervision=False)
    assert alone.outputs == ((16, 16, 16),)


def test_what_parts_share_is_counted_once() -> None:
    """nnU-Net's decoder holds the encoder."""
    checked = check_network(residual(), 1, 3)
    assert [part.name for part in checked.parts] == ["encoder", "decoder"]
    assert sum(part.parameters for part in checked.parts) == checked.parameters


def test_a_network_of_hundreds_of_gigabytes_takes_none() -> None:
    features: dict[str, Any] = {"features_per_stage": [10_000, 20_000, 20_000]}
    assert check_network(residual(**features), 1, 2).parameters > 1e10


@pytest.mark.usefixtures("nets")
def test_a_network_of_one_s_own_needs_its_module_allowed() -> None:
    assert check_network(own("Good"), 1, 2, allow_import=["checked_nets"]).outputs == (
        (16, 16, 16),
    )
    with pytest.raises(ConfigurationError, match="`allow_import=`"):
        check_network(own("Good"), 1, 2)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Small", "first output has 16x16x8 voxels, but the patch 16x16x16"),
        ("Mapping", "returns a dict"),
        ("OneHead", "2 heads are needed"),
        ("Skips", "does not run on a patch of 16x16x16 with 1 channel:"),
    ],
)
def test_what_training_cannot_use_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        check_network(own(name), 1, 2, allow_import=["checked_nets"])


@pytest.mark.usefixtures("nets")
def test_a_network_that_needs_values_is_not_judged_by_its_outputs() -> None:
    checked = check_network(own("Decides"), 1, 2, allow_import=["checked_nets"])
    assert (checked.parameters, checked.outputs) == (4, None)


def test_a_bottleneck_of_one_voxel_is_refused_as_in_training() -> None:
    single = configuration(RESIDUAL_ENCODER_UNET, unet_arguments(n_blocks_per_stage=1), (4, 4, 4))
    with pytest.raises(ConfigurationError, match="the lowest stage has one voxel"):
        check_network(single, 1, 2)
