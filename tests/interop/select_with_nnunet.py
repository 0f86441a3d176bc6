"""Find the best configuration with the real nnU-Net: `python select_with_nnunet.py ROOT DATASET…`.

ROOT holds raw, preprocessed and results; plans are nnUNetPlans, folds 0 and 1.
"""

import multiprocessing
import os
import sys
from types import SimpleNamespace

root, *datasets = sys.argv[1:]
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = f"{root}/{name}"

from evaluate_with_nnunet import SameProcess
from nnunetv2.evaluation.find_best_configuration import (
    dumb_trainer_config_plans_to_trained_models_dict,
    find_best_configuration,
)

if __name__ == "__main__":
    multiprocessing.get_context = lambda _: SimpleNamespace(Pool=SameProcess)
    models = dumb_trainer_config_plans_to_trained_models_dict(
        ["nnUNetTrainer"], ["2d", "3d_fullres"], ["nnUNetPlans"]
    )
    for dataset in datasets:
        find_best_configuration(dataset, models, True, 1, True, [0, 1])
