"""The real nnU-Net's final validation of trained folds; it runs in the peer's environment.

Arguments: the folder with nnUNet_raw and so on, the model folder, the fold.
"""

import json
import os
import sys
from pathlib import Path

folder, model, fold = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(folder / variable)
os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

if __name__ == "__main__":
    trainer = nnUNetTrainer(
        plans=json.loads((model / "plans.json").read_text()) | {"continue_training": True},
        configuration=model.name.split("__")[2],
        fold=fold if fold == "all" else int(fold),
        dataset_json=json.loads((model / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.load_checkpoint(str(model / f"fold_{fold}" / "checkpoint_final.pth"))
    trainer.perform_actual_validation()
