"""Small datasets and plans that tests preprocess, and functions that workers import by name."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from resenc_plans import Dataset, Plans

LABELS = {"background": 0, "left": 1, "right": 2}
PROPERTIES = {"max": 9.0, "mean": 4.0, "median": 4.0, "min": 0.0}
PROPERTIES |= {"percentile_00_5": 1.0, "percentile_99_5": 7.0, "std": 2.0}


def configuration(channels: int = 1, **changes: Any) -> dict[str, Any]:
    splines = "resample_data_or_seg_to_shape"
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [16.0, 20.0, 24.0],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": splines,
        "resampling_fn_seg": splines,
        "resampling_fn_probabilities": splines,
        "resampling_fn_data_kwargs": kwargs(False, 3),
        "resampling_fn_seg_kwargs": kwargs(True, 1),
        "resampling_fn_probabilities_kwargs": kwargs(False, 1),
        "architecture": {
            "network_class_name": "some.Network",
            "arch_kwargs": {},
            "_kw_requires_import": [],
        },
        "batch_dice": False,
        **changes,
    }


def kwargs(is_seg: bool, order: int) -> dict[str, Any]:
    return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}


def plans(
    channels: int = 1, transpose: tuple[int, ...] = (0, 1, 2), **changes: Any
) -> dict[str, Any]:
    backward = [transpose.index(axis) for axis in range(3)]
    return {
        "dataset_name": "Dataset900_Made",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [16, 20, 24],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": backward,
        "configurations": {"3d_fullres": configuration(channels, **changes)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(channel): PROPERTIES for channel in range(channels)
        },
    }


def plan(**changes: Any) -> Plans:
    return Plans.from_dict(plans(**changes), source="nnUNetPlans.json")


def volume(seed: int, shape: tuple[int, ...] = (16, 20, 24)) -> tuple[np.ndarray, np.ndarray]:
    """An image with a zero margin and labels in two halves."""
    random = np.random.default_rng(seed)
    image = random.integers(1, 200, shape).astype(np.float32)
    image[:, :2] = image[:, :, -3:] = 0
    labels = (random.random(shape) < 0.3).astype(np.uint8)
    labels[:, :, shape[2] // 2 :] *= 2
    return image, labels


def write_image(
    array: np.ndarray, path: Path, spacing: tuple[float, float, float] = (1.5, 1.2, 0.9)
) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    SimpleITK.WriteImage(image, str(path))


def make_dataset(
    folder: Path, cases: int = 4, channels: int = 1, labels: dict[str, int] = LABELS, **more: Any
) -> Dataset:
    """A raw dataset of small random cases, `case_0` and so on."""
    folder = Path(folder) / "Dataset900_Made"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    document = {
        "channel_names": {str(c): f"channel {c}" for c in range(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(document))
    for index in range(cases):
        for channel in range(channels):
            image, segmentation = volume(10 * index + channel)
            write_image(image, image_file(folder, index, channel))
        write_image(segmentation, label_file(folder, index))
    return Dataset.load(folder)


def image_file(folder: Path, index: int, channel: int = 0) -> Path:
    return Path(folder) / "imagesTr" / f"case_{index}_{channel:04d}.nii.gz"


def label_file(folder: Path, index: int) -> Path:
    return Path(folder) / "labelsTr" / f"case_{index}.nii.gz"


def files_of(folder: Path) -> dict[str, bytes]:
    """Name to content of all stored files."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def die_once(image: np.ndarray, *_: object) -> np.ndarray:
    """A normalisation that kills its process for one image, the first time."""
    flag = Path(os.environ["RESENC_PLANS_TEST_FLAG"])
    if image.max() >= 1000 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return image


def die_always(image: np.ndarray, *_: object) -> np.ndarray:
    """A normalisation that kills its process for one image."""
    if image.max() >= 1000:
        os.kill(os.getpid(), signal.SIGKILL)
    return image


def halve(image: np.ndarray, *_: object) -> np.ndarray:
    """A normalisation of a user."""
    return image / 2


def wait_in(folder: Path, image: np.ndarray, *_: object) -> np.ndarray:
    """A normalisation that for one image tells in `folder` that it began, and waits for `go`."""
    if image.max() >= 1000:
        (folder / "begun").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
    return image
