import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resenc_plans.errors import ModelError
from resenc_plans.networks.build import build_network
from resenc_plans.plans.plans import Plans
from resenc_plans.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from tests.networks.configurations import plain, residual


class Attack:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.fixture
def checkpoint() -> Checkpoint:
    network = build_network(plain(2), 1, 2)
    return Checkpoint(
        network_weights=network.state_dict(),
        optimizer_state={"state": {}, "param_groups": [{"lr": 0.01}]},
        grad_scaler_state=None,
        logging={"train_losses": [np.float32(0.5)], "curves": np.arange(3.0)},
        best_ema=0.25,
        current_epoch=3,
        init_args={"configuration": "2d", "fold": 0, "device": torch.device("cpu")},
        trainer_name="nnUNetTrainer",
        inference_allowed_mirroring_axes=(0, 1),
        extra={"loop": {"seed": 7}},
    )


def test_what_nnunet_saved_opens(shared: Path) -> None:
    path = shared / "oracle/model/fold_0/checkpoint_final.pth"
    checkpoint = load_checkpoint(path)
    assert checkpoint.trainer_name == "nnUNetTrainer"
    assert checkpoint.current_epoch == 40
    assert checkpoint.best_ema == pytest.approx(0.4136, abs=1e-4)
    plan = Plans.from_dict(dict(checkpoint.init_args["plans"]))
    network = build_network(plan.resolve(checkpoint.init_args["configuration"]), 1, 3)
    load_weights(network, checkpoint.network_weights, str(path))


def test_a_checkpoint_comes_back_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "saved.pth", checkpoint)
    loaded = load_checkpoint(tmp_path / "saved.pth")
    for field in fields(Checkpoint):
        before, after = getattr(checkpoint, field.name), getattr(loaded, field.name)
        if field.name == "network_weights":
            assert all(torch.equal(before[name], after[name]) for name in before)
        elif field.name == "logging":
            assert after["train_losses"] == before["train_losses"]
            assert (after["curves"] == before["curves"]).all()
        else:
            assert before == after


def test_what_would_run_code_is_refused_and_named(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    attack = [Attack(os.system, f"touch {marker}"), Attack(subprocess.call, ["touch", str(marker)])]
    torch.save({"network_weights": attack}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"would call .*\.call, .*\.system\. .*do not trust"):
        load_checkpoint(tmp_path / "evil.pth")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"not a checkpoint", b"\x80\x04N."])
def test_files_of_another_kind_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"other\.pth: damaged, or not a checkpoint"):
        load_checkpoint(path)


def test_a_truncated_file_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("document", [[1], {"network_weights": {}}, {"state_dict": {}}])
def test_other_checkpoints_are_refused(document: object, tmp_path: Path) -> None:
    torch.save(document, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="not a checkpoint of nnU-Net 2"):
        load_checkpoint(tmp_path / "other.pth")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_checkpoint(tmp_path / "gone.pth")


def test_a_failed_write_leaves_the_old_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "kept.pth"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save_checkpoint(path, replace(checkpoint, extra={"unpicklable": lambda: None}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_of_the_network_do_not_matter(prefix: str) -> None:
    first, second = (build_network(plain(2), 1, 2) for _ in range(2))
    load_weights(second, {prefix + k: v for k, v in first.state_dict().items()}, "x.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_weights_of_another_architecture_are_refused() -> None:
    network = build_network(residual(), 1, 2)
    wider = build_network(residual(features_per_stage=[8, 16, 24]), 1, 2)
    with pytest.raises(ModelError, match=r"x\.pth: .*another shape are .*\(24x.*, here 16x"):
        load_weights(network, wider.state_dict(), "x.pth")
    with pytest.raises(ModelError, match=r"it lacks .*and \d+ more; it has in addition"):
        load_weights(network, build_network(plain(), 1, 2).state_dict(), "x.pth")
