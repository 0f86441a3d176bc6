import sys
from typing import Any

import pytest
import torch

from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.build import build_network
from resenc_plans.networks.registry import architecture_names
from tests.networks.configurations import configuration, output_shapes

pytestmark = pytest.mark.slow

NETS = "monai.networks.nets"


@pytest.fixture
def monai() -> None:
    pytest.importorskip("monai", reason="needs the extra monai")
    pytest.importorskip("einops", reason="needs the extra monai")


CASES = [
    ("SwinUNETR", {"feature_size": 12, "depths": [1, 1, 1, 1]}, (64, 32, 32), 1),
    ("SwinUNETR", {"feature_size": 12, "depths": [1, 1, 1, 1], "use_v2": True}, (64, 32), 1),
    ("SegResNet", {"blocks_down": [1, 1], "blocks_up": [1]}, (6, 4, 2), 1),
    ("SegResNetDS", {"init_filters": 4, "blocks_down": [1, 1, 1]}, (8, 4, 4), 2),
    ("SegResNetDS", {"init_filters": 4, "resolution": [4, 1, 1]}, (2, 16, 8), 3),
    ("DiNTS", {"channel_mul": 0.1, "num_blocks": 2, "num_depths": 2}, (16, 16, 8), 1),
    ("MedNeXtS", {}, (32, 16, 16), 5),
    ("MedNeXt", {"init_filters": 4, "kernel_size": 5}, (32, 16), 5),
]


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize(("name", "arguments", "patch_size", "outputs"), CASES)
def test_a_monai_network_runs_with_and_without_deep_supervision(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...], outputs: int
) -> None:
    config = configuration(f"{NETS}.{name}", arguments, patch_size)
    supervised, single = (build_network(config, 2, 3, flag) for flag in (True, False))
    single.load_state_dict(supervised.state_dict())
    image = torch.randn(2, 2, *patch_size)
    logits = supervised.train()(image)
    shapes = [logits.shape] if torch.is_tensor(logits) else [y.shape for y in logits]
    assert len(shapes) == outputs
    assert shapes == output_shapes(config, 2, 3)
    assert torch.is_tensor(single.train()(image))
    with torch.no_grad():
        assert torch.equal(single.eval()(image), supervised.eval()(image))


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize(
    ("name", "arguments", "patch_size", "divisor"),
    [
        ("SwinUNETR", {"feature_size": 12}, (48, 32, 32), 32),
        ("swin_unetr.SwinUNETR", {"feature_size": 12, "use_v2": True}, (32, 32, 16), 32),
        ("segresnet.SegResNet", {}, (12, 8, 8), 8),
        ("SegResNetDS", {"blocks_down": [1, 2, 2, 4, 4]}, (24, 16, 16), 16),
        ("DiNTS", {"channel_mul": 0.1}, (24, 16, 16), 16),
        ("DiNTS", {"channel_mul": 0.1, "use_downsample": False}, (12, 8, 8), 8),
        ("MedNeXtB", {"kernel_size": 5}, (24, 16, 16), 16),
        ("mednext.MedNeXt", {"init_filters": 4}, (24, 16, 16), 16),
    ],
)
def test_the_patch_size_rule_of_each_network_is_checked(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...], divisor: int
) -> None:
    with pytest.raises(ConfigurationError, match=f"not a multiple of .*{divisor}"):
        build_network(configuration(f"{NETS}.{name}", arguments, patch_size), 1, 2)


PUBLISHED_MILLIONS = {"S": (5.6, 5.9), "B": (10.5, 11.0), "M": (17.6, 18.3), "L": (61.8, 63.0)}


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("variant", PUBLISHED_MILLIONS)
def test_mednext_comes_in_the_published_sizes(variant: str, kernel_size: int) -> None:
    config = configuration(
        f"{NETS}.MedNeXt{variant}", {"kernel_size": kernel_size}, (128, 128, 128)
    )
    with torch.device("meta"):
        network = build_network(config, 1, 14)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS[variant][kernel_size == 5], rel=0.02)


@pytest.mark.usefixtures("monai")
def test_a_searched_dints_has_only_its_active_paths() -> None:
    arguments = {
        "channel_mul": 0.1,
        "num_blocks": 2,
        "num_depths": 2,
        "arch_code_a": [[1, 0, 1, 0], [1, 1, 0, 0]],
        "arch_code_c": [[1, 1, 1, 1], [1, 0, 1, 1]],
    }
    config = configuration(f"{NETS}.DiNTS", arguments, (16, 16, 8))
    network: Any = build_network(config, 1, 2)
    assert len(network.dints_space.cell_tree) == 4
    assert network.node_a.tolist() == [[1, 0], [1, 1], [1, 0]]
    assert network(torch.zeros(2, 1, 16, 16, 8)).shape == (2, 2, 16, 16, 8)


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("SwinUNETR", {"width": 3}, "unexpected keyword argument 'width'"),
        (
            "SwinUNETR",
            {"feature_size": 50},
            r"feature_size is 50, .* multiple of 12\. The nearest that SwinUNETR takes: 48",
        ),
        ("SegResNet", {"in_channels": 3}, "has in_channels, which the configuration"),
        ("DiNTS", {"arch_code_a": [[1]]}, "needs both arch_code_a and arch_code_c"),
        ("DiNTS", {"arch_code_a": [[1]], "arch_code_c": [[1]]}, r"must have the shape \(6, 7\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^plans\.json: tested: .*{message}"):
        build_network(configuration(f"{NETS}.{name}", arguments, (64, 64, 64)), 1, 2)


def test_without_monai_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'resenc-plans\[monai\]'"):
        build_network(configuration(f"{NETS}.SegResNet", {}), 1, 2)


def test_both_paths_of_each_network_are_known() -> None:
    names = architecture_names()
    assert f"{NETS}.DiNTS" in names
    assert f"{NETS}.dints.DiNTS" in names
