"""Small datasets made for tests, and the ways to damage them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

SPACING = (2.5, 0.8, 0.7)
LABELS = {"background": 0, "organ": 1, "lesion": 2}


def document(**changes: Any) -> dict[str, Any]:
    """A valid dataset.json, with these keys set, or taken out where they are None."""
    keys = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": LABELS,
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    return {key: value for key, value in {**keys, **changes}.items() if value is not None}


def write_image(
    path: Path,
    array: NDArray[Any],
    spacing: Sequence[float] = SPACING,
    origin: Sequence[float] | None = None,
    direction: Sequence[float] | None = None,
) -> None:
    """Write an array (z, y, x) with a spacing in the same order."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing([float(size) for size in reversed(spacing)])
    if origin is not None:
        image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path))


def image_array(seed: int, shape: Sequence[int] = (6, 9, 8)) -> NDArray[np.int16]:
    """Noise around 0 in a frame of zeros, so that cropping takes something away."""
    array = np.random.default_rng(seed).integers(-50, 400, size=shape).astype(np.int16)
    array[0] = array[:, :2] = array[:, :, -1] = 0
    return array


def label_array(seed: int, shape: Sequence[int] = (6, 9, 8)) -> NDArray[np.uint8]:
    """The labels 0, 1 and 2, each there."""
    array = np.random.default_rng(seed + 100).integers(0, 3, size=shape).astype(np.uint8)
    array[3, 4, 3:6] = (0, 1, 2)
    return array


def write_dataset(folder: Path, cases: int = 3, **changes: Any) -> Path:
    """A dataset of small int16 images with two channels and three labels."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    ending = changes.get("file_ending", ".nii.gz")
    for case in range(cases):
        shape = (6, 9, 8 + case)
        for channel in range(2):
            path = folder / "imagesTr" / f"case_{case:03}_{channel:04}{ending}"
            write_image(path, image_array(10 * case + channel, shape))
        write_image(folder / "labelsTr" / f"case_{case:03}{ending}", label_array(case, shape))
    (folder / "dataset.json").write_text(json.dumps(document(**{"numTraining": cases, **changes})))
    return folder


def truncate(path: Path, share: float = 0.6) -> None:
    """Leave the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
