import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from resenc_plans.errors import ConfigurationError, NetworkError
from resenc_plans.networks import registry
from resenc_plans.networks.build import build_network
from resenc_plans.networks.registry import register_architecture
from resenc_plans.networks.unet.plain import PlainConvUNet
from resenc_plans.networks.unet.residual import ResidualEncoderUNet
from resenc_plans.plans.plans import Plans
from tests.networks.configurations import (
    configuration,
    output_shapes,
    plain,
    residual,
    unet_arguments,
)


class TinyNet(nn.Module):
    """A network that nnU-Net could call, and that counts its initialisations."""

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        deep_supervision: bool,
        conv_op: type | None = None,
    ) -> None:
        super().__init__()
        self.head = (conv_op or nn.Conv3d)(input_channels, num_classes, 1)
        self.deep_supervision = deep_supervision

    @staticmethod
    def initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Conv3d):
            nn.init.constant_(module.weight, 7.0)


@pytest.fixture
def trusted_module(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with `TinyNet`."""
    module = ModuleType("trusted_lab.nets")
    vars(module).update(TinyNet=TinyNet, Norm=nn.InstanceNorm3d, not_a_class=3)
    monkeypatch.setitem(sys.modules, "trusted_lab", ModuleType("trusted_lab"))
    monkeypatch.setitem(sys.modules, "trusted_lab.nets", module)
    return "trusted_lab"


def test_deep_supervision_gives_every_resolution_the_highest_first() -> None:
    network = build_network(residual(), 2, 3)
    logits = network(torch.zeros(1, 2, 16, 16, 16))
    assert [y.shape for y in logits] == output_shapes(residual(), 1, 3)
    assert [tuple(y.shape) for y in logits] == [(1, 3, 16, 16, 16), (1, 3, 8, 8, 8)]


def test_without_deep_supervision_there_is_one_tensor_and_the_same_weights() -> None:
    with_heads, without = (build_network(plain(2), 1, 4, flag) for flag in (True, False))
    without.load_state_dict(with_heads.state_dict())
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(without(image), with_heads(image)[0])


@pytest.mark.parametrize("name", ["ResidualEncoderUNet", "PlainConvUNet"])
@pytest.mark.parametrize("module", ["", "dynamic_network_architectures.architectures.unet."])
def test_short_and_long_class_names_mean_the_same(name: str, module: str) -> None:
    depth = "n_blocks_per_stage" if name.startswith("Residual") else "n_conv_per_stage"
    network = build_network(configuration(module + name, unet_arguments(**{depth: 1})), 1, 2)
    assert type(network) is {"R": ResidualEncoderUNet, "P": PlainConvUNet}[name[0]]


def test_older_plans_formats_build(shared: Path) -> None:
    plan = Plans.load(shared / "corpus/HuiLin0220+StenUNet/nnUNetPlans.json")
    assert "UNet_class_name" in plan.to_dict()["configurations"]["2d"]
    with torch.device("meta"):
        assert isinstance(build_network(plan.resolve("2d"), 1, 2), PlainConvUNet)


def test_residual_blocks_start_silent() -> None:
    network = build_network(residual(), 1, 2)
    last_norms = {name: p for name, p in network.named_parameters() if "conv2.norm" in name}
    assert last_norms
    assert all(not p.any() for p in last_norms.values())


def test_every_convolution_is_initialised() -> None:
    network = build_network(residual(conv_bias=True), 1, 2)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            assert 0.3 < module.weight.var() * module.weight[0].numel() / 2 < 3
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize(("channels", "heads", "key"), [(0, 2, "input_channels"), (1, 0, "heads")])
def test_no_channels_or_heads_are_refused(channels: int, heads: int, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"tested: .*{key} is 0: an integer"):
        build_network(residual(), channels, heads)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_op": "os.Conv3d"}, "conv_op is 'os.Conv3d', which is not .* Did you mean torch"),
        ({"nonlin": "subprocess.Popen"}, "nonlin is 'subprocess.Popen'"),
        ({"norm_op": "torch.nn.InstanceNorm2d"}, "norm_op is InstanceNorm2d, but conv_op"),
        ({"norm_op_kwargs": {"epsilon": 1}}, "norm_op_kwargs do not fit: .*epsilon"),
        ({"dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": 2}}, "dropout_op_kwargs"),
        ({"nonlin_kwargs": {"slope": 1}}, "nonlin_kwargs do not fit"),
        ({"block": "os.system"}, "block is 'os.system'"),
        ({"block": "BottleneckD"}, "bottleneck_channels is missing"),
        ({"stem_channels": 0}, "stem_channels is 0"),
        ({"stochastic_depth_p": 2}, "stochastic_depth_p is 2"),
        ({"depth": 3}, r"arch_kwargs\.depth is not an argument of ResidualEncoderUNet"),
        ({"nonlin_first": True}, r"arch_kwargs\.nonlin_first is not an argument of Residual"),
        ({"num_classes": 3}, "has num_classes, which the configuration, the dataset and the run"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(residual(**changes), 1, 2)


def test_deep_supervision_in_the_file_gives_way_to_the_run() -> None:
    network = build_network(residual(deep_supervision=False), 1, 2, deep_supervision=True)
    assert network.decoder.deep_supervision


def test_an_unknown_class_is_refused_and_not_imported() -> None:
    name = "antigravity.ResidualEncoderUnet"
    with pytest.raises(ConfigurationError, match=r"not known, so it is not imported. Did you mean"):
        build_network(configuration(name, {}), 1, 2)
    assert "antigravity" not in sys.modules


def test_a_registered_builder_gets_configuration_channels_and_heads() -> None:
    seen = []

    def builder(*arguments: object) -> nn.Module:
        seen.append(arguments)
        return nn.Identity()

    register_architecture("lab.Identity", builder)
    config = configuration("lab.Identity", {"width": 3})
    assert isinstance(build_network(config, 1, 2, deep_supervision=False), nn.Identity)
    assert seen == [(config, 1, 2, False)]


def test_nnunets_own_networks_cannot_be_replaced() -> None:
    with pytest.raises(NetworkError, match="cannot be replaced"):
        register_architecture("PlainConvUNet", lambda *_: nn.Identity())


def test_a_package_offers_a_network_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = EntryPoint("lab.Dict", "builtins:dict", registry.ENTRY_POINTS)
    broken = EntryPoint("lab.Broken", "no_such_module:build", registry.ENTRY_POINTS)
    known = EntryPoints([offered, broken])
    monkeypatch.setattr(registry, "entry_points", lambda **params: known.select(**params))
    monkeypatch.setattr(registry, "_BUILDERS", {})
    builder: object = registry.find_builder("lab.Dict")
    assert builder is dict
    assert registry.find_builder("lab.Other") is None
    with pytest.raises(NetworkError, match=r"offered by the package .*cannot be loaded"):
        registry.find_builder("lab.Broken")


def test_an_allowed_module_is_imported_and_called_as_nnunet_does(trusted_module: str) -> None:
    config = configuration(
        "trusted_lab.nets.TinyNet", {"conv_op": "torch.nn.Conv3d"}, requires_import=("conv_op",)
    )
    with pytest.raises(ConfigurationError, match="not imported"):
        build_network(config, 1, 2)
    network = build_network(config, 1, 2, allow_import=[trusted_module])
    assert isinstance(network, TinyNet)
    assert network.deep_supervision
    assert (network.head.weight == 7).all()


def test_an_operator_of_an_allowed_module_is_imported(trusted_module: str) -> None:
    config = residual(norm_op="trusted_lab.nets.Norm")
    build_network(config, 1, 2, allow_import=[trusted_module])
    with pytest.raises(ConfigurationError, match=r"norm_op is 'trusted_lab\.nets\.Norm'"):
        build_network(config, 1, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trusted_lab.nets.Missing", "'trusted_lab.nets.Missing' cannot be imported"),
        ("trusted_lab.nets.not_a_class", "is not a class"),
        ("trusted_lab.gone.Net", "cannot be imported"),
    ],
)
def test_what_an_allowed_module_lacks_is_named(
    trusted_module: str, name: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_network(configuration(name, {}), 1, 2, allow_import=[trusted_module])


@pytest.mark.slow
def test_a_network_compiles_in_one_graph() -> None:
    network = build_network(residual(n_stages=2), 1, 2)
    image = torch.randn(1, 1, 16, 16, 16)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(image)[0], network(image)[0])
