"""Prediction: logits and labels of the real nnU-Net, from models of ours that it loads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from resenc_plans.datasets.images.images import read_label
from resenc_plans.inference.folder import predict_folder
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from resenc_plans.inference.sliding_window import importance, sliding_window_logits, tile_positions
from tests.inference.models import REGIONS, write_model, write_model_of
from tests.networks.configurations import plain

PREDICT = Path(__file__).parent / "predict_with_nnunet.py"

MODELS: dict[str, dict[str, Any]] = {
    "planes": {"dim": 2, "kind": plain, "patch_size": (16, 24)},
    "regions": {"labels": REGIONS, "mirror_axes": (0, 1, 2)},
    "anisotropic": {
        "channels": 4,
        "patch_size": (5, 32, 24),
        "spacing": (3.0, 1.0, 1.0),
        "transpose": (2, 0, 1),
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]],
        "folds": (0, 3),
    },
    "cascade": {"previous_stage": "first", "mirror_axes": None},
}
SHAPES = {
    "planes": (3, 40, 21),
    "regions": (30, 15, 37),
    "anisotropic": (45, 31, 14),
    "cascade": (20, 22, 24),
}
SPACINGS = {"planes": (3.0, 0.9, 1.1), "anisotropic": (1.0, 1.2, 2.5)}


CLOSE = 1e-4
"""Where the two best probabilities are nearer than this, either label will do."""


def noise(shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
    """Smooth noise, so that predictions are not all borders."""
    values = np.random.default_rng(seed).normal(size=shape)
    return gaussian_filter(values, (0, 2, 2, 2)).astype(np.float32) * 10


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: write_model(folder / name, **how) for name, how in MODELS.items()}


def test_logits_and_labels_equal_nnunets(
    models: dict[str, Path], peer: Callable[..., str], tmp_path: Path
) -> None:
    predictors, previous = {}, {}
    for name, folder in models.items():
        how = {"step_size": 0.7 if name == "cascade" else 0.5, "mirroring": name != "planes"}
        folds = MODELS[name].get("folds", (0,))
        settings = PredictionSettings(device="cpu", precision="fp32", **how)
        predictors[name] = Predictor.from_folder(folder, folds, settings=settings)
        image = noise((MODELS[name].get("channels", 1), *SHAPES[name]), 1)
        image[3:] = 0  # A sequence that was not taken.
        spacing = SPACINGS.get(name, (1.0, 1.1, 0.9))
        if name == "cascade":
            previous[name] = (np.digitize(noise((1, *SHAPES[name]), 2), (-1, 1))[0]).astype(np.int8)
            np.save(tmp_path / f"{name}_previous.npy", previous[name])
        data, _ = predictors[name].preprocess(image, {"spacing": spacing}, previous.get(name))
        np.save(tmp_path / f"{name}_data.npy", data)
        np.save(tmp_path / f"{name}_image.npy", image)
        wanted = {"folder": str(folder), "folds": folds, "spacing": spacing, **how}
        (tmp_path / f"{name}.model.json").write_text(json.dumps(wanted))
    peer(PREDICT, tmp_path)
    for name, predictor in predictors.items():
        ours = predictor.predict_logits(np.load(tmp_path / f"{name}_data.npy"))
        theirs = torch.from_numpy(np.load(tmp_path / f"{name}_logits.npy"))
        assert ours.dtype == theirs.dtype == torch.float16
        assert ours.shape == theirs.shape
        # Both add up in float16, in the same order; only a last bit of the network's float32, where
        # it is compiled otherwise, could make a sum round the other way.
        difference = (ours.float() - theirs.float()).abs()
        assert (difference > 1e-4).float().mean() < 5e-3, name
        assert (difference <= 0.01 * theirs.float().abs().clamp(min=1)).all(), name
        single = in_single_precision(predictor, np.load(tmp_path / f"{name}_data.npy"))
        expected = torch.from_numpy(np.load(tmp_path / f"{name}_single.npy"))
        torch.testing.assert_close(single, expected, atol=1e-4, rtol=1e-5)
        image = np.load(tmp_path / f"{name}_image.npy")
        spacing = SPACINGS.get(name, (1.0, 1.1, 0.9))
        labels = predictor.predict(image, spacing, previous.get(name))
        expected = np.load(tmp_path / f"{name}_labels.npy")
        assert labels.dtype == expected.dtype
        assert len(np.unique(expected)) > 1, name
        np.testing.assert_array_equal(labels, expected, name)


def in_single_precision(predictor: Predictor, data: np.ndarray) -> torch.Tensor:
    """The mean of all folds' logits, as `predict_logits` makes it, summed in float32."""
    model = predictor.model
    logits = [
        sliding_window_logits(
            model.network(source),
            torch.from_numpy(data),
            model.config.patch_size,
            model.labels.num_heads,
            step_size=predictor.settings.step_size,
            mirror_axes=predictor.mirror_axes,
            sum_dtype=torch.float32,
        )
        for source in model.weights
    ]
    return torch.stack(logits).mean(dim=0)


def test_a_real_study_of_four_channels_gets_nnunets_files(
    shared: Path, peer: Callable[..., str], tmp_path: Path
) -> None:
    inputs = shared / "data" / "Dataset501_BrainMR" / "imagesTr"
    files = sorted(inputs.glob("study3_*.nii.gz"))
    (tmp_path / "in").mkdir()
    for file in files:
        (tmp_path / "in" / file.name).symlink_to(file)
    oracle = shared / "oracle" / "Dataset501_BrainMR"
    for name in ("3d_fullres", "2d"):
        document = json.loads((oracle / "nnUNetResEncUNetMPlans.json").read_text())
        architecture = document["configurations"][name]["architecture"]["arch_kwargs"]
        stages = architecture["n_stages"]
        architecture["features_per_stage"] = [2, 4, *[8] * (stages - 2)]
        architecture["n_blocks_per_stage"] = [1] * stages
        dataset = json.loads((oracle / "dataset.json").read_text())
        folder = write_model_of(tmp_path / name, document, dataset, name)
        settings = PredictionSettings(
            device="cpu", precision="fp32", mirroring=False, probabilities=True
        )
        predictor = Predictor.from_folder(folder, settings=settings)
        report = predict_folder(predictor, tmp_path / "in", tmp_path / f"{name}_ours")
        assert report.written == ("study3",)
        wanted = {"folder": str(folder), "folds": [0], "step_size": 0.5, "mirroring": False}
        wanted["cases"] = {"study3": [str(file) for file in files]}
        (tmp_path / f"{name}.model.json").write_text(json.dumps(wanted))
    peer(PREDICT, tmp_path)
    for name in ("3d_fullres", "2d"):
        ours, theirs = (
            read_label(tmp_path / f"{name}_{who}" / "study3.nii.gz") for who in ("ours", "theirs")
        )
        assert ours.properties == theirs.properties
        ours_npz, theirs_npz = (
            np.load(tmp_path / f"{name}_{who}" / "study3.npz")["probabilities"]
            for who in ("ours", "theirs")
        )
        np.testing.assert_allclose(ours_npz, theirs_npz, atol=5e-3)
        best = np.sort(theirs_npz, axis=0)
        differs = ours.array[0] != theirs.array[0]
        assert len(np.unique(theirs.array)) == 3
        assert not (differs & (best[-1] - best[-2] > CLOSE)).any()


def test_tiles_and_weights_are_nnunets(peer: Callable[..., str], tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    grids = []
    for number in range(30):
        patch = random.integers(1, 40, 2 + number % 2).tolist()
        shape = [size + int(random.integers(0, 90)) for size in patch]
        grids.append((shape, patch, float(random.uniform(0.2, 1))))
    (tmp_path / "grids.json").write_text(json.dumps(grids))
    peer(PREDICT, tmp_path)
    steps = json.loads((tmp_path / "steps.json").read_text())
    for number, (shape, patch, step) in enumerate(grids):
        ours = [list(tile_positions(n, p, step)) for n, p in zip(shape, patch, strict=True)]
        assert ours == steps[number]
        expected = np.load(tmp_path / f"gaussian_{number}.npy")
        np.testing.assert_array_equal(importance(tuple(patch)).numpy(), expected)
