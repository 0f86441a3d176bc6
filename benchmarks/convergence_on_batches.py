"""Our trainer from the weights and on the batches of a run of nnU-Net's, in fp32, on one thread.

`convergence.py` starts it. Arguments: plans file, configuration, folder that
`convergence_with_nnunet.py` recorded, folder for results, epochs. Prints the curves as JSON in the
last line.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch

from resenc_plans import Dataset, Plans, Trainer, TrainingSettings
from resenc_plans.runs.run_folder import RunFolder
from resenc_plans.training.batches.source import Batch
from resenc_plans.training.history import to_logging

ITERATIONS, VALIDATION_ITERATIONS = 25, 10


@dataclass(frozen=True)
class RecordedBatches:
    """Batches from files that are named by their numbers."""

    folder: Path

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches from number `first` on."""
        for number in count(first):
            with np.load(self.folder / f"{number}.npz") as parts:
                images, target = (torch.from_numpy(parts[name]) for name in parts.files[:2])
            yield Batch(images, target, ())


def main() -> None:
    plans_file, configuration, recorded, results, epochs = sys.argv[1:]
    torch.set_num_threads(1)
    plan = Plans.load(Path(plans_file))
    settings = TrainingSettings(
        epochs=int(epochs),
        iterations=ITERATIONS,
        validation_iterations=VALIDATION_ITERATIONS,
        precision="fp32",
    )
    trainer = Trainer(
        plan.resolve(configuration),
        Dataset.load(Path(plans_file).parent),
        0,
        settings,
        run_folder=RunFolder(Path(results), 0),
        training_batches=RecordedBatches(Path(recorded) / "training"),
        validation_batches=RecordedBatches(Path(recorded) / "validation"),
    )
    weights = torch.load(Path(recorded) / "weights.pth", weights_only=True)
    trainer.network.load_state_dict(weights)
    print(json.dumps(to_logging(trainer.fit().epochs)))


if __name__ == "__main__":
    main()
