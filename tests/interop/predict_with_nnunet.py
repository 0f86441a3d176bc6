"""Predict with the real nnU-Net: `predict_with_nnunet.py FOLDER`, run in its environment.

For each `<name>.json` there: the logits of `<name>_data.npy`, and labels of `<name>_image.npy`.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import (
    compute_gaussian,
    compute_steps_for_sliding_window,
)


def main() -> None:
    folder = Path(sys.argv[1])
    grids = folder / "grids"
    if grids.with_suffix(".json").is_file():
        results = []
        for number, (shape, patch, step) in enumerate(
            json.loads(grids.with_suffix(".json").read_text())
        ):
            results.append(compute_steps_for_sliding_window(tuple(shape), tuple(patch), step))
            gaussian = compute_gaussian(
                tuple(patch), value_scaling_factor=10, device=torch.device("cpu")
            )
            np.save(folder / f"gaussian_{number}.npy", gaussian.numpy())
        (folder / "steps.json").write_text(json.dumps(results))
    for path in sorted(folder.glob("*.model.json")):
        name, wanted = path.name.removesuffix(".model.json"), json.loads(path.read_text())
        predictor = nnUNetPredictor(
            tile_step_size=wanted["step_size"],
            use_mirroring=wanted["mirroring"],
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(wanted["folder"], wanted["folds"])
        data = np.load(folder / f"{name}_data.npy")
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        np.save(folder / f"{name}_logits.npy", logits.numpy())
        image = np.load(folder / f"{name}_image.npy")
        previous = folder / f"{name}_previous.npy"
        labels = predictor.predict_single_npy_array(
            image,
            {"spacing": wanted["spacing"]},
            np.load(previous)[None] if previous.is_file() else None,
        )
        np.save(folder / f"{name}_labels.npy", labels)


if __name__ == "__main__":
    main()
