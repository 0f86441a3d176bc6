"""Made-up folders of predictions and references, for tests of evaluation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

LABEL_SETS: tuple[tuple[Mapping[str, Any], tuple[int, ...] | None], ...] = (
    ({"background": 0, "liver": 1, "tumour": 2}, None),
    ({"background": 0, "lesion": 1}, None),
    ({"background": 0, "left": 1, "right": 2, "ignore": 3}, None),
    ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}, (1, 2, 3)),
    ({"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, (1, 2)),
    ({"background": 0} | {f"rib {i}": i for i in range(1, 12)}, None),
)


def write_dataset_json(
    path: Path, labels: Mapping[str, object], order: tuple[int, ...] | None
) -> None:
    document = {
        "channel_names": {"0": "MRI"},
        "labels": dict(labels),
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    if order is not None:
        document["regions_class_order"] = list(order)
    path.write_text(json.dumps(document))


def write_labels(
    path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> None:
    """Write a label map `(z, y, x)`; spacing in the same order."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def random_labels(
    rng: np.random.Generator, values: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    """A few boxes of random labels, and specks beside them."""
    array = np.zeros(shape, np.uint8)
    for _ in range(rng.integers(0, 5)):
        corner = [rng.integers(0, size) for size in shape]
        extent = [rng.integers(1, size + 1) for size in shape]
        box = tuple(slice(c, c + e) for c, e in zip(corner, extent, strict=True))
        array[box] = rng.choice(values)
    specks = rng.random(shape) < 0.03
    array[specks] = rng.choice(values, specks.sum())
    return array


def write_random_folder(folder: Path, seed: int, cases: int = 3) -> None:
    """Predictions in `pred`, references in `ref`, and a dataset.json, from a seed.

    Labels may be absent from cases or from all of them; predictions resemble their references.
    """
    rng = np.random.default_rng(seed)
    labels, order = LABEL_SETS[seed % len(LABEL_SETS)]
    folder.mkdir(parents=True)
    write_dataset_json(folder / "dataset.json", labels, order)
    parts = [v if isinstance(v, list) else [v] for k, v in labels.items() if k != "ignore"]
    values = sorted({value for part in parts for value in part})
    in_use = [v for v in values if rng.random() < 0.8] or [0]
    for number in range(cases):
        shape = tuple(int(size) for size in rng.integers(1, 14, 3))
        reference = random_labels(rng, in_use, shape)
        prediction = np.where(
            rng.random(shape) < 0.8, reference, random_labels(rng, in_use, shape)
        ).astype(np.uint8)
        if seed % 2:
            prediction, reference = _blob_and_speck(rng, values)
        if "ignore" in labels:
            reference[rng.random(reference.shape) < 0.1] = labels["ignore"]
        spacing = tuple(float(s) for s in rng.uniform(0.5, 3, 3))
        write_labels(folder / "ref" / f"case_{number}.nii.gz", reference, spacing)
        write_labels(folder / "pred" / f"case_{number}.nii.gz", prediction, spacing)


def _blob_and_speck(rng: np.random.Generator, values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A reference of one component, and a prediction that has specks far from it as well."""
    reference = np.zeros((9, 10, 12), np.uint8)
    reference[1:6, 1:7, 1:8] = rng.choice(values[1:], (5, 6, 7))
    prediction = reference.copy()
    for value in values[1:]:
        prediction[8, rng.integers(0, 10), rng.integers(9, 12)] = value
    return prediction, reference
