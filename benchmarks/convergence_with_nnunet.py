"""nnU-Net's own trainer on fold 0, seeded, on one thread; it runs in the peer's environment.

Arguments: dataset name, plans name, configuration, seed, epochs. nnU-Net's environment variables
say where the data lies. Prints the curves that nnU-Net logs as JSON, in the last line.
"""

import json
import os
import random
import sys
from pathlib import Path

os.environ["nnUNet_n_proc_DA"] = "0"

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

ITERATIONS, VALIDATION_ITERATIONS = 25, 10


def main() -> None:
    dataset, plans_name, configuration, seed, epochs = sys.argv[1:]
    torch.set_num_threads(1)
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(int(seed))
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
    trainer.num_epochs = int(epochs)
    trainer.num_iterations_per_epoch = ITERATIONS
    trainer.num_val_iterations_per_epoch = VALIDATION_ITERATIONS
    trainer.run_training()
    curves = trainer.logger.local_logger.my_fantastic_logging
    print(json.dumps(curves, default=float))


main()
