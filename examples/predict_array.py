"""Segment an image in memory: numpy in, numpy out, no files, no processes, no __main__ guard.

The model is an untrained network in a folder like those that nnU-Net 2 and `resenc-plans train`
write. If you have a trained model, you need the last lines only.
"""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from resenc_plans import (
    Dataset,
    Fingerprint,
    Plans,
    PredictionSettings,
    Predictor,
    build_network,
    create_plans,
    read_image,
    write_phantom,
)
from resenc_plans.runs.checkpoint import Checkpoint, save_checkpoint


def write_untrained_model(dataset: Dataset) -> Path:
    """Write a model folder for this dataset, with initial weights."""
    folder = dataset.folder.parent / "nnUNetTrainer__nnUNetResEncUNetMPlans__small"
    (folder / "fold_0").mkdir(parents=True)
    plan = create_plans(Fingerprint.extract(dataset), dataset, preset="M")
    plan.derive("small", from_="3d_fullres", batch_size=2, patch_size=[16, 32, 32])
    plan.save(folder / "plans.json")
    (folder / "dataset.json").write_bytes((dataset.folder / "dataset.json").read_bytes())
    config = Plans.load(folder / "plans.json").resolve("small")
    network = build_network(config, len(dataset.channels), dataset.labels.num_heads)
    checkpoint = Checkpoint(
        network_weights=network.state_dict(),
        optimizer_state=None,
        grad_scaler_state=None,
        logging={},
        best_ema=None,
        current_epoch=0,
        init_args={"configuration": "small", "fold": 0},
        trainer_name="nnUNetTrainer",
        inference_allowed_mirroring_axes=(0, 1, 2),
    )
    save_checkpoint(folder / "fold_0" / "checkpoint_final.pth", checkpoint)
    return folder


dataset = Dataset.load(write_phantom(Path(mkdtemp()) / "Dataset900_Phantom", cases=3))
model = write_untrained_model(dataset)

image = read_image(dataset.cases[0].images)
settings = PredictionSettings(mirroring=False)
predictor = Predictor.from_folder(model, folds=(0,), settings=settings)
segmentation = predictor.predict(image.array, spacing=image.spacing)
print(f"image {image.array.shape}, segmentation {segmentation.shape} of {segmentation.dtype}")
print(f"labels: {np.unique(segmentation).tolist()}")
