"""Questions to the real nnU-Net about training; it runs in the peer's environment.

Argument: a folder with `question.json`; the answer goes to `answer.json` there.
"""

import json
import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(folder)

import numpy as np
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, get_tp_fp_fn_tn
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Nothing:
    """Takes the place of a trainer, of which a method needs a few attributes."""

    inference_allowed_mirroring_axes = None

    def print_to_log_file(self, *_, **__) -> None:
        pass


def loss_of(kind: str, batch_dice: bool, logits: torch.Tensor, target: torch.Tensor) -> float:
    settings = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": False}
    if kind.startswith("labels"):
        ignore = 3 if kind.endswith("ignored") else None
        loss = DC_and_CE_loss(
            settings | {"do_bg": False},
            {},
            weight_ce=1,
            weight_dice=1,
            ignore_label=ignore,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
    else:
        loss = DC_and_BCE_loss(
            {},
            settings | {"do_bg": True},
            use_ignore_label=kind.endswith("ignored"),
            dice_class=MemoryEfficientSoftDiceLoss,
        )
    return float(loss(logits, target))


def described(transform) -> object:
    """A transform as its class and its settings."""
    if isinstance(transform, (list, tuple)) and not np.isscalar(transform):
        return [described(entry) for entry in transform]
    if isinstance(transform, (bool, int, float, str, type(None))):
        return transform
    if isinstance(transform, (np.ndarray, np.generic, torch.Tensor)):
        return transform.tolist()
    if callable(transform) and hasattr(transform, "__name__"):
        return transform.__name__
    if isinstance(transform, dict):
        return {str(key): described(value) for key, value in transform.items()}
    hidden = ("_grid_cache", "training", "benchmark", "benchmark_use_fft")
    return [
        type(transform).__name__,
        {k: described(v) for k, v in vars(transform).items() if k not in hidden},
    ]


def spatial(patch_size: list[int]) -> list:
    trainer = Nothing()
    trainer.configuration_manager = Nothing()
    trainer.configuration_manager.patch_size = patch_size
    method = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
    rotation, dummy, size, mirror = method(trainer)
    return [list(rotation), bool(dummy), [int(n) for n in size], list(mirror)]


def transforms(case: dict) -> list:
    rotation, dummy, _, mirror = spatial(case["patch_size"])
    common = {
        "is_cascaded": case["is_cascaded"],
        "foreground_labels": case["foreground_labels"],
        "regions": case["regions"],
        "ignore_label": case["ignore_label"],
    }
    scales = case["scales"]
    training = nnUNetTrainer.get_training_transforms(
        tuple(case["patch_size"]),
        tuple(rotation),
        scales,
        tuple(mirror),
        dummy,
        use_mask_for_norm=case["use_mask_for_norm"],
        **common,
    )
    validation = nnUNetTrainer.get_validation_transforms(scales, **common)
    return [described(training.transforms), described(validation.transforms)]


def split(batch_size: int, world: int) -> list:
    shares = []
    for rank in range(world):
        trainer = Nothing()
        trainer.is_ddp, trainer.oversample_foreground_percent = True, 0.33
        trainer.configuration_manager = Nothing()
        trainer.configuration_manager.batch_size = batch_size
        torch.distributed.get_world_size = lambda: world
        torch.distributed.get_rank = lambda rank=rank: rank
        nnUNetTrainer._set_batch_size_and_oversample(trainer)
        shares.append([int(trainer.batch_size), float(trainer.oversample_foreground_percent)])
    return shares


def rates() -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    scheduler = PolyLRScheduler(optimizer, 0.01, 1000)
    found = []
    for epoch in (0, 1, 499, 999):
        scheduler.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def main() -> None:
    question = json.loads((folder / "question.json").read_text())
    tensors = torch.load(folder / "tensors.pt")
    answer = {
        "losses": [
            loss_of(kind, batch_dice, *tensors[f"{kind} {dim}"])
            for kind, batch_dice, dim in question["losses"]
        ],
        "overlap": [
            np.asarray(part).tolist()
            for part in get_tp_fp_fn_tn(*tensors["overlap"], axes=[0, 2, 3])[:3]
        ],
        "spatial": [spatial(size) for size in question["patch_sizes"]],
        "transforms": [transforms(case) for case in question["transforms"]],
        "splits": [split(*pair) for pair in question["splits"]],
        "rates": rates(),
    }
    (folder / "answer.json").write_text(json.dumps(answer))


main()
