"""Prediction of images, against what nnU-Net 2.8.1 predicted with its own model."""

from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest
import torch

from resenc_plans.datasets.images.images import read_image
from resenc_plans.errors import DatasetError, DeviceError, ResencPlansError, UsageError
from resenc_plans.inference.predictor import Predictor
from resenc_plans.inference.settings import PredictionSettings
from tests.inference.images import noise
from tests.inference.models import CPU, CPU_IN_FP32, LABELS, REGIONS, in_fp32, write_model
from tests.inference.oracle import images_of, oracle_of

CASES = ("064", "130", "193", "249", "314", "367")
CLOSE = 1e-4
"""Where the two best probabilities are nearer than this, either label will do."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("plain", CASES), ("mirrored", CASES[1:3])])
def test_labels_are_nnunets_where_probabilities_are_not_all_but_equal(
    shared: Path, name: str, cases: tuple[str, ...]
) -> None:
    predictor = Predictor.from_folder(
        shared / "oracle" / "model",
        settings=in_fp32(mirroring=name == "mirrored"),
    )
    for case in cases:
        image = read_image([images_of(shared) / f"hippocampus_{case}_0000.nii.gz"])
        labels = predictor.predict(image.array, image.spacing)
        expected, probabilities = oracle_of(shared, name, case)
        best = np.sort(probabilities, axis=0)
        differs = labels != expected
        assert labels.dtype == expected.dtype
        assert not (differs & (best[-1] - best[-2] > CLOSE)).any(), case


@pytest.mark.parametrize("labels", [LABELS, REGIONS])
def test_labels_made_on_the_device_are_those_made_on_the_host(
    tmp_path: Path, labels: dict[str, Any]
) -> None:
    folder = write_model(tmp_path / "m", folds=(0, 1), spacing=(1.0, 0.8, 1.1), labels=labels)
    image, spacing = noise(), (1.2, 0.9, 1.0)
    for precision in ("fp32", "bf16"):
        there, here = (
            Predictor.from_folder(
                folder,
                settings=in_fp32(export_on=place).model_copy(update={"precision": precision}),
            )
            for place in ("device", "cpu")
        )
        assert there.exports_on_device
        assert not here.exports_on_device
        expected = here.predict(image, spacing)
        made = there.predict(image, spacing)
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, expected)


def test_a_device_that_fails_is_told_in_words(tmp_path: Path) -> None:
    def lose(_: torch.Tensor) -> Never:
        raise RuntimeError(
            "CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`"
        )

    for place in ("cpu", "device"):
        predictor = Predictor.from_folder(
            write_model(tmp_path / place), settings=in_fp32(export_on=place)
        )
        predictor._forward = lose
        with pytest.raises(DeviceError, match=r"has failed.*launch failure\).*`skip_existing=`"):
            predictor.predict(noise(), (1.0, 1.0, 1.0))


def test_a_network_may_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_network(network: Any) -> Any:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_network)
    folder = write_model(tmp_path / "m")
    labels = [
        Predictor.from_folder(folder, settings=in_fp32(compile=on)).predict(
            noise(), (1.0, 1.0, 1.0)
        )
        for on in (True, False)
    ]
    assert len(compiled) == 1
    np.testing.assert_array_equal(labels[0], labels[1])


def test_one_channel_needs_no_channel_axis(predictor: Predictor) -> None:
    image = noise()
    labels = predictor.predict(image, (1.0, 0.9, 1.2))
    assert labels.shape == image.shape
    np.testing.assert_array_equal(labels, predictor.predict(image[None], (1.0, 0.9, 1.2)))


def test_a_single_plane_is_predicted(predictor: Predictor) -> None:
    assert predictor.predict(noise(shape=(1, 20, 9)), (1.0, 1.0, 1.0)).shape == (1, 20, 9)


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (8, 8)])
def test_an_image_that_does_not_fit_is_refused(
    predictor: Predictor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(DatasetError):
        predictor.predict(np.ones(shape), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("spacing", [None, 1.0, ("x", 1, 1)])
def test_a_spacing_that_holds_no_numbers_is_refused_in_words(
    predictor: Predictor, spacing: Any
) -> None:
    with pytest.raises(UsageError, match=r"`spacing=` is .*mm along z, y, x"):
        predictor.predict(noise(), spacing)


@pytest.mark.parametrize("image", [None, "case_0000.nii.gz"])
def test_an_image_that_holds_no_numbers_is_refused_in_words(
    predictor: Predictor, image: Any
) -> None:
    with pytest.raises(UsageError, match="`image=` holds no numbers"):
        predictor.predict(image, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("model", [None, "model", Path("model")])
def test_a_folder_is_not_a_model_and_the_way_to_one_is_named(model: Any) -> None:
    with pytest.raises(UsageError, match=r"Predictor\.from_folder"):
        Predictor(model)


def test_voxels_that_are_not_finite_are_refused(predictor: Predictor) -> None:
    image = noise()
    image[3, 3, 3] = np.nan
    with pytest.raises(DatasetError, match="NaN"):
        predictor.predict(image, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("value", [0, 7, 0.1])
def test_a_constant_channel_is_predicted_as_zero(tmp_path: Path, value: float) -> None:
    predictor = Predictor.from_folder(write_model(tmp_path / "model", channels=2), settings=CPU)
    image = np.stack([noise(), np.full((12, 14, 16), value)])
    data, _ = predictor.preprocess(image, {"spacing": (1.0, 1.0, 1.0)})
    assert not data[1].any()
    assert abs(data[0].std() - 1) < 1e-3
    assert predictor.predict(image, (1.0, 1.0, 1.0)).shape == image.shape[1:]


def test_an_empty_image_is_predicted(predictor: Predictor) -> None:
    assert predictor.predict(np.zeros((5, 6, 7)), (1.0, 1.0, 1.0)).shape == (5, 6, 7)


def test_the_logits_of_folds_are_averaged(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", folds=(0, 2), mirror_axes=None)
    image = noise()[None].astype(np.float32)
    first, second, both = (
        Predictor.from_folder(folder, folds, settings=CPU_IN_FP32).predict_logits(image)
        for folds in (0, (2,), None)
    )
    assert not torch.equal(first, second)
    torch.testing.assert_close(both, (first + second) / 2)


def test_logits_of_folds_whose_sum_half_precision_cannot_hold_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "model", folds=(0, 1, 2), mirror_axes=None)
    image = noise()[None].astype(np.float32)
    of_folds = [
        torch.full((3, 2, 2, 2), 40_000.0, dtype=torch.float16),
        torch.full((3, 2, 2, 2), 30_000.0, dtype=torch.float16),
        torch.full((3, 2, 2, 2), 200_000.0),
    ]
    made = iter(of_folds)
    monkeypatch.setattr(
        "resenc_plans.inference.predictor.sliding_window_logits", lambda *_, **__: next(made)
    )
    predictor = Predictor.from_folder(folder, settings=CPU_IN_FP32)
    torch.testing.assert_close(
        predictor.predict_logits(image), torch.full((3, 2, 2, 2), 90_000.0), rtol=1e-6, atol=0
    )

    nan, zero = float("nan"), 0.0
    for parts, dtype in (
        ([[40_000, nan], [30_000, zero], [20_000, zero]], torch.float32),
        ([[40_000, zero], [zero, 30_000], [zero, zero]], torch.float16),
    ):
        made = iter([torch.tensor(part, dtype=torch.float16)[None] for part in parts])
        logits = predictor.predict_logits(image)
        assert logits.dtype == dtype
        assert not torch.isinf(logits).any()


def test_regions_paint_their_labels(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", labels=REGIONS)
    labels = Predictor.from_folder(folder, settings=CPU).predict(noise(), (1.0, 1.0, 1.0))
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    assert labels.max() > 0


def test_a_model_of_planes_predicts_every_plane_by_itself(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", dim=2)
    predictor = Predictor.from_folder(folder, settings=CPU_IN_FP32)
    data = noise(shape=(1, 3, 20, 16)).astype(np.float32)
    whole = predictor.predict_logits(data)
    assert torch.equal(whole[:, 1:2], predictor.predict_logits(data[:, 1:2]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "toaster"},
        {"device": "cpu", "precision": "fp16"},
        {"precision": "fp8"},
        {"step_size": 0},
        {"tile": 2},
    ],
)
def test_a_wrong_setting_is_an_error_in_words(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ResencPlansError):
        Predictor.from_folder(write_model(tmp_path / "model"), settings=PredictionSettings(**wrong))
