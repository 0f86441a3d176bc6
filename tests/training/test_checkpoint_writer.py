"""Checkpoints that are written while the training goes on."""

import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resenc_plans.errors import FileError
from resenc_plans.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from resenc_plans.training import checkpoint_writer as module
from resenc_plans.training.checkpoint_writer import CheckpointWriter, HostCopies


class Shares(nn.Module):
    """A network with one part under two names, in another memory format, and an empty weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv3d(2, 4, 3)
        self.decoder = nn.ModuleDict({"encoder": self.encoder, "head": nn.Conv3d(4, 2, 1)})
        self.register_buffer("none", torch.empty(0))
        self.register_buffer("view", torch.arange(10.0)[3:7])
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer, Checkpoint]:
    torch.manual_seed(seed)
    network = Shares()
    optimizer = torch.optim.AdamW(network.parameters())
    network.decoder["head"](network.encoder(torch.randn(1, 2, 5, 5, 5))).sum().backward()
    optimizer.step()
    return network, optimizer, checkpoint_of(network, optimizer)


def checkpoint_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    shared = "text"
    arguments = {"plans": {"a": [1, 2.5, shared]}, "device": torch.device("cpu"), "fold": shared}
    return Checkpoint(
        network.state_dict(),
        optimizer.state_dict(),
        None,
        {"losses": [0.5]},
        0.25,
        1,
        arguments,
        "nnUNetTrainer",
        (0, 1, 2),
        {"own": {"numbers": [1.0], "tied": torch.complex(torch.ones(2), torch.ones(2))}},
    )


def test_a_copy_is_written_byte_for_byte_as_what_it_was_made_of(tmp_path: Path) -> None:
    _, _, checkpoint = trained()
    writer = CheckpointWriter()
    for name in ("first", "again"):  # the second time into the same memory
        save_checkpoint(tmp_path / "plain.pth", checkpoint)
        writer.write(tmp_path / f"{name}.pth", checkpoint)
        writer.wait()
        assert (tmp_path / f"{name}.pth").read_bytes() == (tmp_path / "plain.pth").read_bytes()


def test_a_checkpoint_holds_the_weights_of_its_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, optimizer, checkpoint = trained()
    save_checkpoint(tmp_path / "plain.pth", checkpoint)
    may_go_on = threading.Event()

    def slow(path: Path, checkpoint: Checkpoint) -> None:
        may_go_on.wait()
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(module, "save_checkpoint", slow)
    writer = CheckpointWriter()
    writer.write(tmp_path / "a.pth", checkpoint)
    optimizer.step()
    checkpoint.init_args["plans"]["a"].append("later")
    assert not (tmp_path / "a.pth").exists()
    may_go_on.set()
    writer.write(tmp_path / "b.pth", checkpoint_of(network, optimizer))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "plain.pth").read_bytes()
    writer.wait()
    assert (tmp_path / "b.pth").read_bytes() != (tmp_path / "plain.pth").read_bytes()


def test_copies_are_made_into_the_same_memory_and_share_what_was_shared() -> None:
    network, optimizer, checkpoint = trained()
    copies = HostCopies()

    def places() -> dict[str, int]:
        copied = copies.of(checkpoint_of(network, optimizer)).network_weights
        assert isinstance(copied, OrderedDict)
        return {name: value.data_ptr() for name, value in copied.items()}

    first = places()
    assert first == places()
    assert first["encoder.weight"] == first["decoder.encoder.weight"]
    assert first["encoder.weight"] != network.state_dict()["encoder.weight"].data_ptr()
    # An optimizer that has more to keep since, and a weight of another size
    more = replace(checkpoint, network_weights={"a": torch.ones(3), "b": torch.zeros(4)})
    again = copies.of(more).network_weights
    assert torch.equal(again["a"], torch.ones(3))


class PretendedEvent:
    """The end of copies from the second GPU; tells who waits for it."""

    device = torch.device("cuda", 1)

    def __init__(self, told: list[object]) -> None:
        self.told = told

    def synchronize(self) -> None:
        self.told.append(threading.current_thread().name)


def test_copies_from_a_gpu_are_awaited_on_it_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, checkpoint = trained()
    told: list[object] = []
    writer = CheckpointWriter()
    of = HostCopies.of

    def from_gpu(copies: HostCopies, checkpoint: Checkpoint) -> Checkpoint:
        copied = of(copies, checkpoint)
        copies.event = PretendedEvent(told)
        return copied

    monkeypatch.setattr(HostCopies, "of", from_gpu)
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    monkeypatch.setattr(module, "save_checkpoint", lambda path, _: told.append(path))
    writer.write(tmp_path / "a.pth", checkpoint)
    writer.wait()
    assert told == [torch.device("cuda", 1), "checkpoint", tmp_path / "a.pth"]


@pytest.mark.parametrize("at", ["write", "wait", "close"])
def test_what_prevents_a_checkpoint_is_told_at_the_next_wait_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    _, _, checkpoint = trained()
    path, writer = tmp_path / "a.pth", CheckpointWriter()
    writer.write(path, checkpoint)
    writer.wait()
    before = path.read_bytes()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("resenc_plans.files._Output.write", full)
        writer.write(path, replace(checkpoint, current_epoch=2))
        if at == "close":
            writer.close()
            assert "the disk is full" in caplog.text
        else:
            with pytest.raises(FileError, match=r"a\.pth: not written, the disk is full"):
                writer.write(path, checkpoint) if at == "write" else writer.wait()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    writer.wait()  # it is told once
    writer.write(path, replace(checkpoint, current_epoch=3))
    writer.wait()
    assert load_checkpoint(path).current_epoch == 3


def test_without_memory_for_a_copy_the_run_writes_the_checkpoint_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, checkpoint = trained()

    def no_room(self: HostCopies, *_: Any) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(HostCopies, "_copy", no_room)
    writer = CheckpointWriter()
    writer.write(tmp_path / "a.pth", checkpoint)
    assert load_checkpoint(tmp_path / "a.pth").current_epoch == 1
    writer.wait()


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from resenc_plans import files
from resenc_plans.training.checkpoint_writer import CheckpointWriter
from tests.training.test_checkpoint_writer import trained

path, writer = Path(sys.argv[1]), CheckpointWriter()
writer.write(path, trained(0)[2])
writer.wait()
write, amid = files._Output.write, threading.Event()

def half(self, data):
    written = write(self, data)
    amid.set()
    threading.Event().wait()

files._Output.write = half
writer.write(path, trained(1)[2])
amid.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False, cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # with what was begun
    save_checkpoint(tmp_path / "plain.pth", trained(0)[2])
    assert path.read_bytes() == (tmp_path / "plain.pth").read_bytes()
