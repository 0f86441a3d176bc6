"""Times nnU-Net's own trainer; it runs in the peer's environment.

Arguments: dataset name, plans name, configuration, iterations, data loading processes, and the time
at which it was started. Prints seconds to the first iteration's end and per iteration.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["nnUNet_n_proc_DA"] = sys.argv[5]

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def main() -> None:
    dataset, plans_name, configuration, iterations, _, started = sys.argv[1:]
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
    ends = []
    step = trainer.train_step

    def timed_step(batch: Any) -> Any:
        result = step(batch)
        ends.append(time.time())
        return result

    trainer.train_step = timed_step
    trainer.num_epochs, trainer.num_iterations_per_epoch = 1, int(iterations)
    trainer.num_val_iterations_per_epoch = 1
    trainer.run_training()
    later = (ends[-1] - ends[3]) / (len(ends) - 4)
    print(json.dumps({"first": ends[0] - float(started), "iteration": later}))


if __name__ == "__main__":
    main()
