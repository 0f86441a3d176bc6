"""Let nnU-Net predict with trained models, and go on training them; in the peer's environment.

Arguments: a folder with nnU-Net's three, and folders of models with fold 0. Prints a line of each.
"""

import os
import sys
from pathlib import Path

folder = sys.argv[1]
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = f"{folder}/{variable}"
os.environ |= {"nnUNet_compile": "f"}
import torch
from stand_ins_with_nnunet import install_stand_ins

install_stand_ins()

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

for model in map(Path, sys.argv[2:]):
    predictor = nnUNetPredictor(device=torch.device("cpu"), verbose=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    name, plans, configuration = model.name.split("__")
    trainer = get_trainer_from_args(
        "Dataset004_Hippocampus", configuration, 0, name, plans, True, torch.device("cpu")
    )
    maybe_load_checkpoint(trainer, True, False)
    state = trainer.optimizer.state_dict()["state"]
    weights = predictor.network.state_dict()
    equal = all(torch.equal(weights[k], v) for k, v in trainer.network.state_dict().items())
    image = torch.rand(1, 1, *trainer.configuration_manager.patch_size)
    outputs = trainer.network(image)
    sum(output.mean() for output in outputs).backward()
    trainer.optimizer.step()
    axes = predictor.allowed_mirroring_axes
    print("said", name, trainer.current_epoch, sorted(state[0]), axes, equal)
