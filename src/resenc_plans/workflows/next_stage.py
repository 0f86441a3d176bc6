"""What a cascade's first stage predicts of held-out cases, on the grid of its next stage.

nnU-Net writes it in the final validation, to `predicted_next_stage/<configuration>/<case>.b2nd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from resenc_plans.errors import FileError, PreprocessingError
from resenc_plans.files import inside, make_folder
from resenc_plans.inference.export.labels import export_labels
from resenc_plans.inference.predictor import Predictor
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.preprocessing.store.folder import store_folder
from resenc_plans.runs.model_folder import ModelFolder
from resenc_plans.runs.stages import write_prediction


@dataclass(frozen=True)
class NextStage:
    """A configuration that takes this one's segmentations as input."""

    name: str
    folder: Path
    """Where the segmentations go."""
    grids: CaseStore

    def write(
        self,
        case: str,
        logits: npt.NDArray[Any],
        properties: Mapping[str, Any],
        predictor: Predictor,
    ) -> None:
        """Resample logits (heads, z, y, x) to the stage's grid, and store the largest as labels.

        Whether an axis is resampled apart is decided, as in nnU-Net's `resample_and_save`, by the
        spacing of the logits alone.

        Raises
        ------
        FileError
            The stage has no such stored case, or the folder cannot be written to.
        """
        try:
            shape = self.grids.arrays(case)[0].shape[1:]
        except PreprocessingError:
            raise FileError(
                f"{self.grids.folder}: has no {case}, so there is nothing for {self.name} to "
                "continue. Preprocess it, then validate again."
            ) from None
        recipe = predictor.export_recipe
        spacing, _ = recipe.spacings(properties)
        labels = export_labels(
            logits,
            shape,
            spacing=spacing,
            new_spacing=spacing,
            regions=recipe.regions,
            interpolation=recipe.interpolation,
        )
        write_prediction(self.folder, case, labels)


def next_stages(predictor: Predictor, preprocessed: Path) -> tuple[NextStage, ...]:
    """The next stages of a trained model, their folders made.

    Raises
    ------
    FileError
        A stage has not been preprocessed, or its folder cannot be made.
    """
    model = predictor.model
    stages = []
    for name in model.config.next_stage:
        config = model.plan.resolve(name)
        grids = CaseStore(store_folder(preprocessed, config))
        folder = inside(model.folder, ModelFolder(model.folder).next_stage(name))
        make_folder(folder)
        stages.append(NextStage(name, folder, grids))
    return tuple(stages)
