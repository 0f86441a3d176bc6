"""Export cases with the real nnU-Net: `export_with_nnunet.py FOLDER`, run in its environment."""

import json
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")

from nnunetv2.ensembling.ensemble import ensemble_folders
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


def main() -> None:
    folder = Path(sys.argv[1])
    for name, scenario in json.loads((folder / "scenarios.json").read_text()).items():
        manager = PlansManager(scenario["plans"])
        properties = pickle.loads((folder / f"{name}.properties").read_bytes())
        for probabilities in (False, True):
            output = folder / f"{name}_{'probabilities' if probabilities else 'labels'}"
            output.mkdir()
            export_prediction_from_logits(
                torch.from_numpy(np.load(folder / f"{name}.npy")),
                properties,
                manager.get_configuration(scenario["configuration"]),
                manager,
                scenario["dataset_json"],
                str(output / name),
                probabilities,
                1,
            )
    for name, job in json.loads((folder / "ensembles.json").read_text()).items():
        ensemble_folders(job["folders"], str(folder / name), True, 1)


if __name__ == "__main__":
    main()
