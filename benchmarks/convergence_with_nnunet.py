"""nnU-Net's own trainer on fold 0, seeded, on one thread; it runs in the peer's environment.

`convergence.py` starts it. Arguments: dataset name, plans name, configuration, seed, epochs, and a
folder for its first weights and every batch. nnU-Net's environment variables name the folders of
data. Prints the curves that nnU-Net logs as JSON in the last line.
"""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

os.environ["nnUNet_n_proc_DA"] = "0"

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

ITERATIONS, VALIDATION_ITERATIONS = 25, 10


class Recorded:
    """Hands batches on, and keeps each in a file named by its number."""

    def __init__(self, batches: Any, folder: Path) -> None:
        self.batches, self.folder, self.count = batches, folder, 0
        folder.mkdir()

    def __next__(self) -> Any:
        batch = next(self.batches)
        targets = {str(i): target.numpy() for i, target in enumerate(batch["target"])}
        np.savez(self.folder / str(self.count), images=batch["data"].numpy(), **targets)
        self.count += 1
        return batch


class RecordingTrainer(nnUNetTrainer):  # type: ignore[misc]
    """nnU-Net's trainer, which saves its first weights and every batch in `record`."""

    record: Path

    def get_dataloaders(self) -> list[Recorded]:
        """nnU-Net's, recorded; its first weights are drawn by now."""
        torch.save(self.network.state_dict(), self.record / "weights.pth")
        names = ("training", "validation")
        loaders = super().get_dataloaders()
        return [Recorded(b, self.record / name) for b, name in zip(loaders, names, strict=True)]


def main() -> None:
    dataset, plans_name, configuration, seed, epochs, record = sys.argv[1:]
    torch.set_num_threads(1)
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(int(seed))
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    plans = json.loads((folder / f"{plans_name}.json").read_text())
    plans["continue_training"] = False
    trainer = RecordingTrainer(
        plans=plans,
        configuration=configuration,
        fold=0,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.record = Path(record)
    trainer.num_epochs = int(epochs)
    trainer.num_iterations_per_epoch = ITERATIONS
    trainer.num_val_iterations_per_epoch = VALIDATION_ITERATIONS
    trainer.run_training()
    curves = trainer.logger.local_logger.my_fantastic_logging
    print(json.dumps(curves, default=float))


main()
