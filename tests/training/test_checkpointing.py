"""Weights of another dataset are taken by every network, but for its heads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resenc_plans.errors import ModelError
from resenc_plans.networks.build import build_network
from resenc_plans.runs.checkpoint import Checkpoint, save_checkpoint
from resenc_plans.training.checkpointing import load_pretrained
from tests.networks.configurations import configuration

MONAI = "monai.networks.nets"
MEDNEXT = "resenc_plans.networks.baselines.mednext.MedNeXt"

NETWORKS: list[tuple[str, dict[str, Any], tuple[int, ...], int]] = [
    ("STUNet", {"variant": "S"}, (32, 32, 64), 5),
    (MEDNEXT, {}, (16, 16, 32), 5),
    (f"{MONAI}.SwinUNETR", {"feature_size": 12, "depths": [1, 1, 1, 1]}, (32, 32, 64), 1),
    (f"{MONAI}.SegResNet", {"init_filters": 8}, (8, 8, 8), 1),
    (f"{MONAI}.SegResNetDS", {"init_filters": 4, "blocks_down": [1, 1, 1]}, (8, 8, 8), 2),
    (f"{MONAI}.DiNTS", {"channel_mul": 0.1, "num_blocks": 2, "num_depths": 2}, (16, 16, 16), 1),
    (f"{MONAI}.MedNeXt", {"init_filters": 4}, (16, 16, 32), 5),
]


def save(network: nn.Module, path: Path, prefix: str = "") -> None:
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    save_checkpoint(path, Checkpoint(weights, None, None, {}, None, 0, {}, "nnUNetTrainer", None))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "patch_size", "heads"), NETWORKS)
def test_only_the_heads_of_a_network_may_be_of_another_shape(
    name: str, arguments: dict[str, Any], patch_size: tuple[int, ...], heads: int, tmp_path: Path
) -> None:
    if name.startswith(MONAI):
        pytest.importorskip("monai", reason="without the extra monai")
        pytest.importorskip("einops", reason="without the extra monai")
    config, path = configuration(name, arguments, patch_size), tmp_path / "other.pth"
    trained, fresh = build_network(config, 2, 5), build_network(config, 2, 3)
    save(trained, path, prefix="_orig_mod.")
    skipped = load_pretrained(fresh, path, name)
    assert len(skipped) == 2 * heads  # weights and biases
    for parameter, value in trained.state_dict().items():
        if parameter not in skipped:
            assert torch.equal(fresh.state_dict()[parameter], value)
    with pytest.raises(ModelError, match="another architecture"):
        load_pretrained(build_network(config, 1, 5), path, name)


def test_a_training_without_deep_supervision_has_fewer_heads(tmp_path: Path) -> None:
    config, path = configuration(MEDNEXT, {}, (16, 16, 32)), tmp_path / "mednext.pth"
    supervised, single = (build_network(config, 1, 2, flag) for flag in (True, False))
    save(supervised, path)
    assert load_pretrained(single, path, MEDNEXT) == ()
    save(single, path)
    assert len(load_pretrained(supervised, path, MEDNEXT)) == 8
