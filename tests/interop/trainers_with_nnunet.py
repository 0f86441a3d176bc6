"""Questions to nnU-Net's 77 trainers; it runs in the peer's environment.

Argument: a folder with `question.json` and `weights.pt`; the answer goes to `answer.json` there.
Packages that are not installed there are replaced by stand-ins: what they would compute is not
asked.
"""

import copy
import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

folder = Path(sys.argv[1])
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(folder)
os.environ |= {"nnUNet_compile": "f"}

import numpy as np
import torch
from stand_ins_with_nnunet import Adan, install_stand_ins

install_stand_ins()

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

OPTIONS = {"momentum", "nesterov", "weight_decay", "betas", "eps", "amsgrad"}
NORMS = {"BatchNorm3d", "InstanceNorm3d"}
HIDDEN = ("_grid_cache", "training", "benchmark", "benchmark_use_fft")


class Recorded(torch.nn.Conv3d):
    """Takes the place of a Primus network, which most timm cannot build; keeps how."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(1, 3, 1)
        self.asked = {"name": type(self).__name__, "arguments": arguments, "options": options}


def record_primus(trainer_class: type) -> None:
    """Let a trainer's module build `Recorded` networks."""
    module = sys.modules[trainer_class.__module__]
    for name in [name for name in vars(module) if name.startswith("Primus")]:
        setattr(module, name, type(name, (Recorded,), {}))


def classes() -> dict[str, type]:
    found = {}
    package = nnUNetTrainer.__module__.rpartition(".")[0]
    root = Path(importlib.import_module(package).__file__).parent
    for path in sorted(root.rglob("*.py")):
        name = ".".join((package, *path.relative_to(root).with_suffix("").parts))
        for key, value in vars(importlib.import_module(name)).items():
            if inspect.isclass(value) and value.__module__ == name:
                found[key] = value
    return found


def described(thing) -> object:
    """A transform as its class and its settings."""
    if isinstance(thing, (list, tuple)):
        return [described(entry) for entry in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(map(int, thing))
    if isinstance(thing, (bool, int, float, str, type(None))):
        return thing
    if isinstance(thing, (np.ndarray, np.generic, torch.Tensor)):
        return thing.tolist()
    if isinstance(thing, dict):
        return {str(key): described(value) for key, value in thing.items()}
    if callable(thing) and hasattr(thing, "__name__"):
        return "a function"
    return [
        type(thing).__name__,
        {key: described(value) for key, value in vars(thing).items() if key not in HIDDEN},
    ]


def made(trainer_class: type, question: dict, patch: str, initialized: bool) -> nnUNetTrainer:
    plans = copy.deepcopy(question["plans"][patch])
    trainer = trainer_class(plans, "tested", 0, question["dataset"], torch.device("cpu"))
    if initialized:
        trainer.initialize()
    trainer.logger = MagicMock()
    return trainer


def rates(trainer: nnUNetTrainer, epochs: list[int]) -> list[float]:
    found = []
    for epoch in filter(trainer.num_epochs.__gt__, epochs):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        found.append(trainer.optimizer.param_groups[0]["lr"])
    return found


def weights_of_scales(trainer: nnUNetTrainer, is_ddp: bool) -> list[float] | None:
    """Those of a network that is not compiled; None without deep supervision."""
    trainer.is_ddp = is_ddp
    loss = trainer._build_loss()
    trainer.is_ddp = False
    return described(getattr(loss, "weight_factors", None))


def transforms(trainer: nnUNetTrainer, masks: list[bool]) -> list:
    rotation, dummy, _, mirror = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    training = trainer.get_training_transforms(
        tuple(trainer.configuration_manager.patch_size),
        rotation,
        None,
        mirror,
        dummy,
        use_mask_for_norm=masks,
        is_cascaded=False,
        foreground_labels=[1, 2],
        regions=None,
        ignore_label=None,
    )
    return described(training.transforms)


def facts(trainer_class: type, question: dict) -> dict:
    is_primus = "primus" in trainer_class.__module__
    if is_primus:
        record_primus(trainer_class)
    trainer = made(trainer_class, question, "3d", initialized=True)
    optimizer = trainer.optimizer
    keys = {"lr", "weight_decay"} if type(optimizer).__name__ == "Adan" else OPTIONS
    options = {
        key: optimizer.param_groups[0][key] for key in keys & optimizer.param_groups[0].keys()
    }
    networks_norms = {type(p).__name__ for p in trainer.network.modules()} & NORMS
    return {
        "epochs": trainer.num_epochs,
        "optimizer": type(optimizer).__name__,
        "options": described(options),
        "deep_supervision": trainer.enable_deep_supervision,
        "foreground": float(trainer.oversample_foreground_percent),
        "is_probability": bool(trainer.probabilistic_oversampling),
        "batch_size": trainer.batch_size,
        "norms": sorted(networks_norms),
        "rates": rates(trainer, question["epochs"]),
        "scales": [weights_of_scales(trainer, is_ddp) for is_ddp in (False, True)],
        "network": described(getattr(trainer.network, "asked", None)),
        "patches": {
            patch: spatial(trainer_class, question, patch)
            for patch in (["3d"] if is_primus else question["plans"])
        },
    }


def spatial(trainer_class: type, question: dict, patch: str) -> dict:
    trainer = made(trainer_class, question, patch, initialized=False)
    rotation, dummy, size, mirror = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    return {
        "spatial": [described(rotation), bool(dummy), described(size), described(mirror)],
        "mirrored": described(trainer.inference_allowed_mirroring_axes),
        "transforms": transforms(trainer, question["masks"]),
    }


def draws(trainer_class: type, question: dict) -> dict:
    """What the strong augmentation's own functions draw, after a seed."""
    trainer = made(trainer_class, question, "3d", initialized=False)
    rotation, dummy, _, mirror = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    patch = tuple(trainer.configuration_manager.patch_size)
    training = trainer.get_training_transforms(patch, rotation, None, mirror, dummy)
    found = {}
    for transform in training.transforms:
        inner = getattr(transform, "transform", None)
        for name in ("scale", "max_strength", "gamma"):
            function = getattr(inner, name, None)
            if callable(function) and hasattr(function, "__name__"):
                np.random.seed(0)
                arguments = [] if name == "gamma" else [[40, 50, 60], 1]
                found[name] = [float(function(*arguments)) for _ in range(100)]
    return found


def steps(trainer_class: type, question: dict, weights: dict) -> dict:
    """Losses of three steps, and what became of the weights; none without the package."""
    try:
        trainer = made(trainer_class, question, "3d", initialized=True)
    except Exception as error:
        return {"unavailable": str(error)}
    if isinstance(trainer.optimizer, Adan):
        return {"unavailable": "without adan-pytorch"}
    trainer.network.load_state_dict(weights["networks"][trainer_class.__name__])
    trainer.network.train()
    losses = []
    for number, (image, *targets) in enumerate(weights["batches"]):
        torch.manual_seed(number)
        target = targets if trainer.enable_deep_supervision else targets[0]
        losses.append(float(trainer.train_step({"data": image, "target": target})["loss"]))
    torch.save(trainer.network.state_dict(), folder / f"{trainer_class.__name__}.pt")
    return {"losses": losses}


def main() -> None:
    question = json.loads((folder / "question.json").read_text())
    weights = torch.load(folder / "weights.pt")
    found = classes()
    answer = {
        "steps": {name: steps(found[name], question, weights) for name in weights["networks"]},
        "names": sorted(found),
        "facts": {name: facts(found[name], question) for name in question["facts"]},
        "draws": draws(found["nnUNetTrainerDA5"], question),
    }
    (folder / "answer.json").write_text(json.dumps(answer))


main()
