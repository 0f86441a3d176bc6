"""Train, resume, augment and predict on the stand-in device: `run_on_stand_in.py FOLDER TASK`.

FOLDER is a preprocessed folder with the configuration `tiny`. Prints as JSON how many values of
weights, logits and labels differ from those of the CPU.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resenc_plans.datasets.dataset import Dataset
from resenc_plans.inference.export.case import export_case, uncropped
from resenc_plans.inference.export.on_device import DeviceExport, labels_within_memory
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.plans.plans import Plans
from resenc_plans.plans.training_settings import TrainingSettings
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.checkpoint import load_checkpoint
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.batches.device_augmentation import DeviceAugmentation
from resenc_plans.training.trainer import Trainer
from tests.inference.logits import smooth_logits
from tests.interop.test_export import SCENARIOS, recipe_of
from tests.stand_in import NAME, OnStandIn, register_stand_in
from tests.training.batches.compare_augmentations import KINDS
from tests.training.batches.short_of_memory import ShortOfMemory, drawn_batches

SETTINGS = TrainingSettings(
    epochs=1,
    iterations=3,
    validation_iterations=1,
    workers=0,
    precision="fp32",
    augment_on="device",
)
EXPORTS: dict[str, Any] = {"cpu": "cpu", NAME: "device"}
STOPPED_AT_ONCE = SETTINGS.model_copy(update={"max_minutes": 1e-9})


def train(folder: Path, device: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Train with a stop after the first batch, and predict a case; weights, logits, labels.

    The device augments; it draws no noise, and rounds as the CPU.
    """
    [path] = folder.glob("*Plans.json")
    config, dataset = Plans.load(path).resolve("tiny"), Dataset.load(str(folder))
    run = RunFolder(folder / "results" / device, 0)
    stopped = Trainer(config, dataset, 0, STOPPED_AT_ONCE, device=device, run_folder=run)
    assert not stopped.fit().is_complete
    trainer = Trainer(config, dataset, 0, SETTINGS, device=device, run_folder=run)
    trainer.resume()
    assert next(trainer.network.parameters()).device.type == "cpu"
    done = trainer.fit()
    assert next(trainer.network.parameters()).device.type == device
    predictor = Predictor.from_folder(
        run.model,
        0,
        settings=PredictionSettings(device=device, precision="fp32", export_on=EXPORTS[device]),
    )
    assert predictor.exports_on_device == (device == NAME)
    exported = count_exports()
    store = CaseStore(folder / config.data_identifier)
    image = store[sorted(store)[0]].image[:, :12, :24, :24]
    properties = {
        "spacing": (1.3, 0.9, 1.1),
        "shape_before_cropping": (11, 27, 25),
        "bbox_used_for_cropping": ((0, 11), (1, 27), (0, 25)),
    }
    made = (
        dict(load_checkpoint(done.checkpoint).network_weights),
        predictor.predict_logits(image),
        torch.from_numpy(predictor.segment(image, properties).copy()),
    )
    assert exported == ([NAME] if device == NAME else [])
    return made


def count_exports() -> list[str]:
    """The devices of logits that become labels where they lie, from now on."""
    devices: list[str] = []
    original = DeviceExport.labels

    def labels(self: DeviceExport) -> Tensor:
        devices.append(self.logits.device.type)
        return original(self)

    DeviceExport.labels = labels  # type: ignore[method-assign]
    return devices


def forget(folder: Path) -> None:
    """Train with a loss that forgets to move a tensor."""
    [path] = folder.glob("*Plans.json")
    config, dataset = Plans.load(path).resolve("tiny"), Dataset.load(str(folder))

    def loss(logits: Tensor, _: Tensor) -> Tensor:
        return (logits.mean((0, 2, 3, 4)) * torch.ones(logits.shape[1])).sum()

    Trainer(config, dataset, 0, SETTINGS, device=NAME, name="Forgets", loss=loss).fit()


def begin(folder: Path) -> list[str]:
    """Whether processes are forked or the device is used first, in turns, when a run resumes."""
    [path] = folder.glob("*Plans.json")
    config, dataset = Plans.load(path).resolve("tiny"), Dataset.load(str(folder))
    settings = SETTINGS.model_copy(update={"workers": 2})
    stopped = settings.model_copy(update={"max_minutes": 1e-9})
    assert not Trainer(config, dataset, 0, stopped, device=NAME).fit().is_complete
    turns: list[str] = []

    def note(kind: str) -> None:
        if turns[-1:] != [kind]:
            turns.append(kind)

    os.register_at_fork(before=partial(note, "fork"))
    made = OnStandIn.__init__

    def noting(tensor: OnStandIn, host: Tensor) -> None:
        note("device")
        made(tensor, host)

    OnStandIn.__init__ = noting  # type: ignore[assignment,method-assign]
    trainer = Trainer(config, dataset, 0, settings, device=NAME)
    trainer.resume()
    assert trainer.fit().is_complete
    return turns


def run_short() -> dict[str, int]:
    """Batches for which memory runs out somewhere, and how many differ from those of the CPU."""
    device, tried, different = torch.device(NAME, 0), 0, 0
    for name in ("regions, 3 channels", "cascade"):
        source = KINDS[name].source()
        for drawn in drawn_batches(source):
            expected = DeviceAugmentation(source, torch.device("cpu"))(drawn)
            with ShortOfMemory(device) as memory:
                DeviceAugmentation(source, device)(drawn)
            for fails_at in range(1, memory.allocated - 1, 61):
                with ShortOfMemory(device, fails_at):
                    made = DeviceAugmentation(source, device)(drawn)
                assert made.images.device == made.target.device == device
                is_same = torch.equal(made.images.cpu(), expected.images) and torch.equal(
                    made.target.cpu(), expected.target
                )
                tried, different = tried + 1, different + (not is_same)
    return {"batches": tried, "different": different}


def run_export() -> dict[str, str]:
    """How the labels of each kind of logits that nnU-Net exports are made from the stand-in."""
    ways = {}
    for name, made in SCENARIOS.items():
        logits = smooth_logits(3, made["shape"], made["dtype"])
        properties, recipe = made["properties"], recipe_of(made)
        on_device = torch.from_numpy(logits).to(torch.device(NAME, 0))
        labels = labels_within_memory(on_device, properties, recipe)
        if labels is None:
            ways[name] = "by the host"
            continue
        expected = export_case(logits, properties, recipe)
        is_same = np.array_equal(uncropped(labels, properties, recipe), expected)
        ways[name] = "alike" if is_same else "otherwise"
    return ways


ALONE: dict[str, Any] = {"short": run_short, "export": run_export}
"""Tasks that need no folder."""


def main(folder: Path, task: str) -> None:
    torch.use_deterministic_algorithms(True)
    registered = register_stand_in()
    if task in ALONE:
        print(json.dumps(ALONE[task]()))
        return
    if task == "begin":
        print(json.dumps(begin(folder)))
        return
    if task == "forget":
        forget(folder)
    here, there = train(folder, "cpu"), train(folder, NAME)
    weights = sum(int((here[0][name] != there[0][name]).sum()) for name in here[0])
    logits, labels = (
        int((one != other).sum()) for one, other in zip(here[1:], there[1:], strict=True)
    )
    print(json.dumps({"weights": weights, "logits": logits, "labels": labels}))
    del registered


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
