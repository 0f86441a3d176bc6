"""`train --dry-run`: what a training would refuse hours later, it refuses now."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done
from tests.plans.documents import document as plans_document

KEYS = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "numTraining": 2}
NETWORK = (
    "from torch import nn\n"
    "class Own(nn.Conv3d):\n"
    "    def __init__(self, input_channels, num_classes, deep_supervision):\n"
    "        super().__init__(input_channels, num_classes, 1)\n"
)
FOURFOLD = {"strides": [1, 4, 4, 4, 2, 2]}


@pytest.mark.parametrize(
    ("network", "options", "fault"),
    [
        ({"network_class_name": "STUNet", "arch_kwargs": {"stages": 3}}, (), "do not fit STUNet"),
        (
            {"network_class_name": "STUNet", "arch_kwargs": FOURFOLD},
            (),
            "[256, 256, 256]",
        ),
        ({"network_class_name": "dry_nets.Own"}, (), "allow its module"),
        ({"network_class_name": "dry_nets.Own"}, ("--allow-import", "dry_nets"), "preprocess"),
    ],
)
def test_a_dry_run_builds_the_network_before_it_looks_at_data(
    network: dict[str, object],
    options: tuple[str, ...],
    fault: str,
    run: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"inherits_from": "3d_fullres", "architecture": network, "patch_size": [64, 64, 64]}
    Plans.from_dict(plans_document(mine=own)).save(tmp_path / f"{NAME}.json")
    (tmp_path / "dataset.json").write_text(json.dumps(KEYS | {"file_ending": ".nii.gz"}))
    (tmp_path / "dry_nets.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = run("train", ".", "mine", "0", "--dry-run", *options)
    assert done.code == 2
    assert fault in " ".join(done.err.split())
    sys.modules.pop("dry_nets", None)
