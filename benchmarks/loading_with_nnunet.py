"""Batches per second of nnU-Net's own loader; it runs in the peer's environment.

Arguments: dataset name, plans name, configuration, number of batches. One process makes batches, as
its environment variable asks. Prints batches per second.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["nnUNet_n_proc_DA"] = "1"

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def main() -> None:
    dataset, plans_name, configuration, count = sys.argv[1:]
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset
    plans = json.loads((folder / f"{plans_name}.json").read_text())
    plans["continue_training"] = False
    trainer = nnUNetTrainer(
        plans=plans,
        configuration=configuration,
        fold=0,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    for _ in range(10):
        next(training)
    begun = time.perf_counter()
    for _ in range(int(count)):
        next(training)
    print(int(count) / (time.perf_counter() - begun))
    for loader in (training, validation):
        loader._finish()


if __name__ == "__main__":
    main()
