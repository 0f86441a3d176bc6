"""Made-up results folders: models with validation predictions, as training leaves them."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resenc_plans.datasets.images.images import read_label, write_label
from tests.evaluation.label_folders import write_dataset_json, write_labels

LABELS = {"background": 0, "anterior": 1, "posterior": 2}
SHAPE = (8, 9, 10)


def write_references(folder: Path, cases: Sequence[str], seed: int = 0) -> None:
    """A box of two halves per case, of changing size."""
    rng = np.random.default_rng(seed)
    for case in cases:
        array = np.zeros(SHAPE, np.uint8)
        z, y, x = rng.integers(4, 8, 3)
        array[1:z, 1:y, 1:x] = 1
        array[1:z, 1:y, x // 2 : x] = 2
        write_labels(folder / f"{case}.nii.gz", array, (2.0, 1.0, 0.5))


def write_model(
    folder: Path,
    plans: Path,
    references: Path,
    folds: Sequence[Sequence[str]],
    *,
    noise: float,
    seed: int,
    dataset_name: str,
    probabilities: bool = True,
) -> None:
    """A model whose probabilities are the references' with noise, and specks far from them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    document = json.loads(plans.read_text()) | {"dataset_name": dataset_name}
    (folder / "plans.json").write_text(json.dumps(document, indent=4))
    write_dataset_json(folder / "dataset.json", LABELS, None)
    for number, cases in enumerate(folds):
        validation = folder / f"fold_{number}" / "validation"
        validation.mkdir(parents=True)
        for case in cases:
            reference = read_label(references / f"{case}.nii.gz")
            truth = reference.array[0]
            logits = (np.arange(3)[:, None, None, None] == truth) + noise * rng.normal(
                size=(3, *truth.shape)
            )
            logits[1, -1, -1, -1] = 9
            chances = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
            target = validation / f"{case}.nii.gz"
            write_label(chances.argmax(0), target, reference.properties)
            if probabilities:
                np.savez_compressed(validation / f"{case}.npz", probabilities=chances)
                with (validation / f"{case}.pkl").open("wb") as stream:
                    pickle.dump(reference.properties, stream)
