"""Export: segmentations, probabilities and ensembles that the real nnU-Net makes of logits."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike
from scipy.ndimage import gaussian_filter

from resenc_plans import Plans
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.datasets.images.images import read_label, write_label
from resenc_plans.datasets.labels import Labels
from resenc_plans.inference.ensemble import ensemble_folders
from resenc_plans.inference.export.case import ExportRecipe, export_case
from resenc_plans.inference.export.probabilities import write_probabilities
from resenc_plans.planning.resampling import resampling_document
from tests.preprocessing.datasets import plans

EXPORT = Path(__file__).parent / "export_with_nnunet.py"
PLAIN = {"background": 0, "a": 1, "b": 2, "c": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rest": 3}
TORCH: dict[str, Any] = {
    "resampling_fn_probabilities": "resample_torch_fornnunet",
    "resampling_fn_probabilities_kwargs": {"is_seg": False},
}


def scenario(
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    image_spacing: tuple[float, ...] = (1.3, 0.8, 0.9),
    shape: tuple[int, ...] = (18, 24, 20),
    cropped: tuple[int, ...] = (14, 30, 22),
    before: tuple[int, ...] | None = None,
    transpose: tuple[int, ...] = (0, 1, 2),
    dtype: DTypeLike = "float16",
    labels: dict[str, Any] = PLAIN,
    **changes: Any,
) -> dict[str, Any]:
    """A case with logits on one grid and an image on another, both in the plans' axis order."""
    before = before or cropped
    dataset_json = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if labels is REGIONS:
        dataset_json["regions_class_order"] = [1, 2, 3]
    backward = [transpose.index(axis) for axis in range(3)]
    file_spacing = [image_spacing[axis] for axis in backward]
    bounds = [[n - m, n] for n, m in zip(before, cropped, strict=True)]
    itk = {"origin": (1.0, 2.0, 3.0), "direction": (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)}
    properties = {
        "sitk_stuff": {"spacing": tuple(file_spacing[::-1]), **itk},
        "spacing": file_spacing,
        "shape_before_cropping": tuple(before),
        "bbox_used_for_cropping": bounds,
        "shape_after_cropping_and_before_resampling": tuple(cropped),
    }
    return {
        "plans": plans(transpose=transpose, spacing=list(spacing), **changes),
        "configuration": "3d_fullres",
        "dataset_json": dataset_json,
        "properties": properties,
        "shape": (3 if labels is REGIONS else 4, *shape),
        "dtype": dtype,
    }


SCENARIOS = {
    "half": scenario(),
    "single": scenario(dtype="float32"),
    "many_ties": scenario(dtype="float16", shape=(9, 12, 10)),
    "unchanged": scenario(shape=(14, 30, 22)),
    "regions": scenario(labels=REGIONS),
    "ignore": scenario(labels=PLAIN | {"ignore": 4}),
    "coarse_z": scenario(spacing=(5.0, 1.0, 1.0), image_spacing=(5.0, 0.8, 0.9)),
    "coarse_z_of_image": scenario(image_spacing=(1.0, 6.0, 0.9)),
    "coarse_y": scenario(spacing=(1.0, 1.0, 4.0), image_spacing=(1.1, 0.8, 4.0)),
    "planar": scenario(
        spacing=(1.0, 1.0), shape=(14, 24, 20), image_spacing=(3.5, 0.8, 0.9), patch_size=[16, 16]
    ),
    "cropped": scenario(before=(16, 33, 27)),
    "transposed": scenario(before=(16, 33, 27), transpose=(2, 0, 1)),
    "transposed_regions": scenario(before=(16, 33, 27), transpose=(1, 2, 0), labels=REGIONS),
    "cubic": scenario(
        dtype="float32",
        resampling_fn_probabilities_kwargs={
            "is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None,
        },
    ),
    "torch": scenario(dtype="float32", **TORCH),
    "planned_torch": scenario(
        dtype="float32", spacing=(5.0, 1.0, 1.0), image_spacing=(5.0, 0.8, 0.9),
        **resampling_document("torch"),
    ),
    "planned_torch_separate_z": scenario(
        dtype="float32", spacing=(5.0, 1.0, 1.0), image_spacing=(5.0, 0.8, 0.9),
        **resampling_document("torch-separate-z"),
    ),
    "planned_none": scenario(
        shape=(14, 30, 22), before=(16, 33, 27), transpose=(2, 0, 1), **resampling_document("none")
    ),
    "torch_coarse": scenario(
        dtype="float32", spacing=(5.0, 1.0, 1.0), image_spacing=(5.0, 0.8, 0.9), **TORCH
    ),
}  # fmt: skip


def smooth_logits(seed: int, shape: tuple[int, int, int, int], dtype: str) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (12 * gaussian_filter(noise, (0, 1.5, 1.5, 1.5))).astype(dtype)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder with what nnU-Net made of all scenarios, and of ensembles of two."""
    folder = tmp_path_factory.mktemp("exported")
    for seed, (name, made) in enumerate(SCENARIOS.items()):
        logits = smooth_logits(seed, made["shape"], made["dtype"])
        np.save(folder / f"{name}.npy", logits)
        (folder / f"{name}.properties").write_bytes(pickle.dumps(made["properties"]))
    for name in ("plain", "regions"):
        labels = REGIONS if name == "regions" else PLAIN
        for member in range(3):
            inputs = folder / f"{name}_{member}"
            made = scenario(labels=labels)
            export_both(smooth_logits(50 + member, made["shape"], "float16"), made, inputs, "case")
            (inputs / "dataset.json").write_text(json.dumps(made["dataset_json"]))
            (inputs / "plans.json").write_text(json.dumps(made["plans"]))
    ensembles = {
        f"ensemble_{name}": {"folders": [str(folder / f"{name}_{member}") for member in range(3)]}
        for name in ("plain", "regions")
    }
    (folder / "ensembles.json").write_text(json.dumps(ensembles))
    documents = {
        name: {key: made[key] for key in ("plans", "configuration", "dataset_json")}
        for name, made in SCENARIOS.items()
    }
    (folder / "scenarios.json").write_text(json.dumps(documents))
    return folder


def export_both(logits: np.ndarray, made: dict[str, Any], folder: Path, name: str) -> np.ndarray:
    """Write the segmentation and the probabilities of a case."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of(made)
    labels = export_case(logits, made["properties"], recipe)
    write_label(labels, folder / f"{name}.nii.gz", made["properties"])
    write_probabilities(folder / f"{name}.npz", logits, made["properties"], recipe)
    return labels


def recipe_of(made: dict[str, Any]) -> ExportRecipe:
    plan = Plans.from_dict(made["plans"], source="plans.json")
    labels = Labels.from_dataset(DatasetJson.from_dict(made["dataset_json"]))
    return ExportRecipe.of(plan.resolve(made["configuration"]), labels)


def test_everything_equals_what_nnunet_exports(
    exported: Path, peer: Callable[..., str], tmp_path: Path
) -> None:
    peer(EXPORT, exported)
    for name, made in SCENARIOS.items():
        logits = np.load(exported / f"{name}.npy")
        ours = export_both(logits, made, tmp_path / name, name)
        theirs = read_label(exported / f"{name}_labels" / f"{name}.nii.gz")
        np.testing.assert_array_equal(ours, theirs.array[0], err_msg=name)
        assert ours.dtype == theirs.array.dtype
        written = read_label(tmp_path / name / f"{name}.nii.gz")
        assert written.properties == theirs.properties
        assert_same_probabilities(
            tmp_path / name / f"{name}.npz", exported / f"{name}_probabilities" / f"{name}.npz"
        )
    for name in ("plain", "regions"):
        folders = [exported / f"{name}_{member}" for member in range(3)]
        mine, nnunets = tmp_path / f"ensemble_{name}", exported / f"ensemble_{name}"
        assert ensemble_folders(folders, mine, probabilities=True).done == ("case",)
        np.testing.assert_array_equal(
            read_label(mine / "case.nii.gz").array, read_label(nnunets / "case.nii.gz").array
        )
        assert_same_probabilities(mine / "case.npz", nnunets / "case.npz", tolerance=0)
        assert sorted(p.name for p in nnunets.iterdir()) == sorted(p.name for p in mine.iterdir())


def assert_same_probabilities(ours: Path, theirs: Path, tolerance: float = 2e-6) -> None:
    mine, other = np.load(ours)["probabilities"], np.load(theirs)["probabilities"]
    assert mine.shape == other.shape
    assert mine.dtype == other.dtype
    np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance, err_msg=str(ours))
    properties = (path.with_suffix(".pkl").read_bytes() for path in (ours, theirs))
    one, two = (pickle.loads(content) for content in properties)
    assert one == two
