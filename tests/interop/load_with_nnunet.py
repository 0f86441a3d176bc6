"""Samples of the real nnU-Net's loader and augmentation; it runs in the peer's environment.

Arguments: `question.json`, and where the samples go (`torch.save`). Each sample is made by
`nnUNetDataLoader.generate_train_batch` after the generators were seeded as the question says.
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = tempfile.gettempdir()

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


class Trainer:
    """Takes the place of a trainer, of which two methods need a few attributes."""

    enable_deep_supervision = True

    def __init__(self, configuration: Any) -> None:
        self.configuration_manager = configuration

    def print_to_log_file(self, *_: Any, **__: Any) -> None:
        pass


def samples(scenario: dict[str, Any]) -> list[Any]:
    plans = PlansManager(scenario["plans"])
    configuration = plans.get_configuration(scenario["configuration"])
    labels = plans.get_label_manager(scenario["dataset_json"])
    patch = configuration.patch_size
    trainer = Trainer(configuration)
    scales = nnUNetTrainer._get_deep_supervision_scales(trainer)
    method = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
    rotation, dummy, initial, mirror = method(trainer)
    common = {
        "is_cascaded": configuration.previous_stage_name is not None,
        "foreground_labels": labels.foreground_labels,
        "regions": labels.foreground_regions if labels.has_regions else None,
        "ignore_label": labels.ignore_label,
    }

    def training() -> Any:
        made = nnUNetTrainer.get_training_transforms(
            patch, rotation, scales, mirror, dummy, configuration.use_mask_for_norm, **common
        )
        for entry in made.transforms:
            if hasattr(entry, "transform") and hasattr(entry.transform, "benchmark"):
                entry.transform.benchmark = False
        return made

    def validation() -> Any:
        return nnUNetTrainer.get_validation_transforms(scales, **common)

    folder = Path(scenario["folder"])
    cases = sorted(nnUNetDatasetBlosc2.get_identifiers(folder))
    data = nnUNetDatasetBlosc2(folder, cases, scenario["previous"])
    is_training = scenario["purpose"] == "training"
    made = []
    for states, foreground in scenario["samples"]:
        transforms = training() if is_training else validation()
        read = initial if is_training else patch
        loader = nnUNetDataLoader(data, 1, read, patch, labels, 0.33, transforms=transforms)
        loader.get_indices = lambda: [cases[np.random.choice(len(cases))]]
        loader.get_do_oversample = lambda _, foreground=foreground: foreground
        np.random.seed(states[:4])
        torch.manual_seed(states[4])
        random.seed(states[5])
        batch = loader.generate_train_batch()
        made.append((batch["data"], batch["target"], batch["keys"]))
    return made


def main() -> None:
    question, answer = map(Path, sys.argv[1:])
    scenarios = json.loads(question.read_text())
    torch.save({name: samples(scenario) for name, scenario in scenarios.items()}, answer)


main()
