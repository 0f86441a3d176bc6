"""What a cascade's first stage says of held-out cases, on the grid of its next stage.

nnU-Net writes it in the final validation, to `predicted_next_stage/<configuration>/<case>.b2nd`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resenc_plans.inference.export import export_labels
from resenc_plans.inference.interpolation import Interpolation
from resenc_plans.preprocessing.store import CaseStore, write_labels

if TYPE_CHECKING:
    from resenc_plans.inference.predictor import Predictor


def predict_next_stages(
    predictor: "Predictor", preprocessed: Path, model_folder: Path, cases: tuple[str, ...]
) -> tuple[str, ...]:
    """Predict stored cases for each next stage; the names of those stages.

    Logits are resampled to the next stage's grid, and the largest is the label.

    Raises
    ------
    FileError
        A stored case of either stage is missing, or the folder cannot be written to.
    """
    config, plan = predictor.model.config, predictor.model.plan
    stages = config.next_stage
    store = CaseStore(preprocessed / config.data_identifier)
    for name in stages:
        following = plan.resolve(name)
        grids = CaseStore(preprocessed / following.data_identifier)
        folder = model_folder / "predicted_next_stage" / name
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            image = np.asarray(store.arrays(case)[0][:])
            labels = export_labels(
                predictor.predict_logits(image).numpy(),
                grids.arrays(case)[0].shape[1:],
                spacing=config.spacing,
                new_spacing=following.spacing,
                regions=predictor.model.labels.regions_class_order,
                interpolation=Interpolation.of(config),
            )
            write_labels(folder / f"{case}.b2nd", labels)
    return stages
