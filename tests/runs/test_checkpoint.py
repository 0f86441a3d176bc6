import os
import subprocess
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_weights", [1]),
        ("network_weights", {"a": 1}),
        ("network_weights", {1: torch.zeros(1)}),
        ("network_weights", {"a": torch.zeros(3, 3).to_sparse()}),
        ("optimizer_state", 1),
        ("grad_scaler_state", [1]),
        ("logging", None),
        ("_best_ema", "high"),
        ("current_epoch", None),
        ("current_epoch", -1),
        ("current_epoch", 10**30),
        ("init_args", [1]),
        ("inference_allowed_mirroring_axes", 1),
        ("inference_allowed_mirroring_axes", ["x"]),
        ("inference_allowed_mirroring_axes", [7]),
    ],
)
def test_values_of_another_kind_are_refused_with_their_key(
    checkpoint: Checkpoint, tmp_path: Path, key: str, value: object
) -> None:
    save_checkpoint(tmp_path / "a.pth", checkpoint)
    document = torch.load(tmp_path / "a.pth", weights_only=False)
    torch.save({**document, key: value}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=f"kind of {key}"):
        load_checkpoint(tmp_path / "a.pth")


def test_damaged_bytes_are_an_error_in_words_or_harmless(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, replace(checkpoint, network_weights={"a": torch.zeros(2)}))
    whole = path.read_bytes()
    pickled = whole.index(b"data.pkl") + len(b"data.pkl")
    random = np.random.default_rng(0)
    harmless = errors = 0
    for trial in range(300):
        damaged = bytearray(whole)
        end = len(whole) if trial % 2 else pickled + 1500
        for position in random.integers(pickled if end < len(whole) else 0, end, 1 + trial % 3):
            damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert isinstance(load_checkpoint(path), Checkpoint)
            harmless += 1
        except ModelError as error:
            assert "a.pth" in str(error)
            errors += 1
    assert harmless > 0
    assert errors > 100


@pytest.mark.parametrize("exception", [TypeError, KeyError, IndexError, SystemError, MemoryError])
def test_whatever_torch_raises_on_a_file_names_the_file(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exception: type[Exception],
) -> None:
    save_checkpoint(tmp_path / "a.pth", checkpoint)

    def fail(*_: object, **__: object) -> None:
        raise exception("deep inside")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ModelError, match=r"a\.pth: damaged"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight.to(torch.complex64), "holds complex64"),
        (lambda weight: weight.bool(), "holds bool"),
        (lambda weight: weight.long(), "holds int64"),
        (lambda weight: weight * float("nan"), "not finite"),
        (lambda weight: weight / 0, "not finite"),
    ],
)
def test_weights_of_another_kind_and_diverged_ones_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    network = build_network(plain(2), 1, 2)
    weights = dict(network.state_dict())
    name = next(iter(weights))
    with pytest.raises(ModelError, match=words) as error:
        load_weights(network, weights | {name: change(weights[name])}, "a.pth")
    assert str(error.value).startswith(f"a.pth: {name} ")


def test_half_precision_is_a_fraction_too() -> None:
    weights = {k: v.half() for k, v in build_network(plain(2), 1, 2).state_dict().items()}
    network = build_network(plain(2), 1, 2)
    load_weights(network, weights, "a.pth")
    assert all(torch.equal(weights[k], v.half()) for k, v in network.state_dict().items())
