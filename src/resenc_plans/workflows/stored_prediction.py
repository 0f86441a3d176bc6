"""Held-out cases predicted from the store, as nnU-Net's `perform_actual_validation` does.

The network sees what it was trained on; images are not read again, and need not exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from resenc_plans.datasets.images.segmentation_files import (
    npz_of,
    segmentation_file,
    write_segmentation,
)
from resenc_plans.execution.cases import CaseProblem
from resenc_plans.execution.pipeline import Pipeline
from resenc_plans.inference.export.case import export_case
from resenc_plans.inference.export.probabilities import write_probabilities
from resenc_plans.inference.network_input import with_previous_stage
from resenc_plans.inference.predictor import Predictor
from resenc_plans.preprocessing.store.case_store import CaseStore, LazyArray
from resenc_plans.workflows.next_stage import NextStage

PreviousStage = Callable[[str, Sequence[int]], LazyArray]
"""The labels (1, z, y, x) that a cascade's previous stage gave a case of shape (z, y, x)."""

_Case = tuple[npt.NDArray[Any], dict[str, Any]]
"""The network's input, or its logits; and the properties of the case."""


@dataclass(frozen=True)
class StoredPredictor:
    """Segments the cases of a store, whose images need not exist.

    `previous` is needed in a cascade's second stage; `next_stages` get their input in passing.
    """

    predictor: Predictor
    store: CaseStore
    previous: PreviousStage | None = None
    next_stages: tuple[NextStage, ...] = ()

    def predict_cases(
        self, cases: Sequence[str], target: Path, /, *, probabilities: bool = False
    ) -> tuple[CaseProblem, ...]:
        """Write a segmentation of each case on the grid of its image; returns those that failed."""
        recipe = self.predictor.export_recipe
        ending = self.predictor.model.dataset.file_ending

        def predict(_: str, read: _Case) -> _Case:
            image, properties = read
            return self.predictor.predict_logits(image).numpy(), properties

        def write(case: str, predicted: _Case) -> None:
            path = segmentation_file(target, case, ending)
            if probabilities:
                write_probabilities(npz_of(path), *predicted, recipe)
            write_segmentation(export_case(*predicted, recipe), path, predicted[1])
            with in_store:
                for stage in self.next_stages:
                    stage.write(case, *predicted, self.predictor)

        def read(case: str) -> _Case:
            with in_store:
                return self._read(case)

        in_store = Lock()  # blosc2 in one thread at a time
        outcomes = list(Pipeline(read, predict, write).run(cases))
        return tuple(problem for _, problem in outcomes if problem is not None)

    def _read(self, case: str) -> _Case:
        stored = self.store[case]
        image = np.asarray(stored.image[:])
        if self.previous is None:
            return image, stored.properties
        labels = self.previous(case, image.shape[1:])[:, :, :, :]
        foreground = self.predictor.model.labels.foreground_labels
        return with_previous_stage(image, labels, foreground), stored.properties
