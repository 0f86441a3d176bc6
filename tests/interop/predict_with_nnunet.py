"""Predict with the real nnU-Net: `predict_with_nnunet.py FOLDER`, run in its environment.

For each `<name>.model.json` there: the logits of `<name>_data.npy`, summed in half precision as
nnU-Net does and in single, and labels of `<name>_image.npy`; or segmentations of files.
"""

import json
import sys
import warnings
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

warnings.simplefilter("ignore")

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import (
    compute_gaussian,
    compute_steps_for_sliding_window,
)

PREDICTION = "nnunetv2.inference.predict_from_raw_data"


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
        if "cases" in wanted:
            out = folder / f"{name}_theirs"
            out.mkdir()
            predictor.predict_from_files_sequential(
                [list(images) for images in wanted["cases"].values()],
                [str(out / case) for case in wanted["cases"]],
                save_probabilities=True,
            )
            continue
        data = torch.from_numpy(np.load(folder / f"{name}_data.npy"))
        logits = predictor.predict_logits_from_preprocessed_data(data)
        np.save(folder / f"{name}_logits.npy", logits.numpy())
        with (
            mock.patch.object(torch, "half", torch.float32),
            mock.patch(
                f"{PREDICTION}.compute_gaussian", partial(compute_gaussian, dtype=torch.float32)
            ),
        ):
            logits = predictor.predict_logits_from_preprocessed_data(data)
        np.save(folder / f"{name}_single.npy", logits.numpy())
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
