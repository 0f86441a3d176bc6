"""The end of `train`: held-out cases are predicted from the store, in a cascade too."""

import json
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from resenc_plans.cli.app import main
from resenc_plans.datasets.demo import write_phantom
from resenc_plans.datasets.images.images import read_label
from resenc_plans.inference.export.case import export_case
from resenc_plans.inference.predictor import Predictor
from resenc_plans.preprocessing.store.case_store import CaseStore
from resenc_plans.runs.stages import open_prediction
from resenc_plans.training.trackers import WANDB_ENABLED
from tests.inference.models import CPU_IN_FP32

pytestmark = pytest.mark.slow

CASES, HELD_OUT = ["phantom_000", "phantom_001"], "phantom_002"
PLANS = "nnUNetResEncUNetMPlans"
SHORT = ["--device", "cpu", "--epochs", "1", "--iterations", "1", "--workers", "0"]


@pytest.fixture
def cascade(preprocessed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three stored cases, one held out; configuration `second` continues `first`."""
    path = preprocessed / f"{PLANS}.json"
    document = json.loads(path.read_text())
    document["configurations"]["tiny"]["patch_size"] = [16, 48, 48]
    document["configurations"]["first"] = {"inherits_from": "tiny", "next_stage": "second"}
    document["configurations"]["second"] = {"inherits_from": "tiny", "previous_stage": "first"}
    path.write_text(json.dumps(document))
    (preprocessed / "splits_final.json").write_text(
        json.dumps([{"train": CASES, "val": [HELD_OUT]}])
    )
    for name in ("003", "004", "005"):
        for stored in preprocessed.glob(f"*/phantom_{name}*"):
            stored.unlink()
    raw = write_phantom(tmp_path / "raw", cases=3)
    shutil.copytree(raw / "labelsTr", preprocessed / "gt_segmentations")
    monkeypatch.chdir(preprocessed)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return preprocessed


def train(monkeypatch: pytest.MonkeyPatch, configuration: str, fold: str, *more: str) -> int:
    settings = Path("settings.json")
    settings.write_text('{"validation_iterations": 1, "precision": "fp32"}')
    options = ["-p", PLANS + ".json", "--settings", str(settings), *SHORT, *more]
    command = ["resenc-plans", "train", ".", configuration, fold, *options]
    monkeypatch.setattr(sys, "argv", command)
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def model_folder(folder: Path, configuration: str) -> Path:
    return folder / f"nnUNet_results/Dataset900_Phantom/nnUNetTrainer__{PLANS}__{configuration}"


def test_a_second_stage_is_validated_on_what_the_first_predicted(
    cascade: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(monkeypatch, "first", "all") == 0
    first, second = (model_folder(cascade, name) for name in ("first", "second"))
    predicted = first / "predicted_next_stage" / "second"
    assert sorted(path.stem for path in predicted.glob("*.b2nd")) == [*CASES, HELD_OUT]

    assert train(monkeypatch, "second", "0") == 0
    summary = json.loads((second / "fold_0/validation/summary.json").read_text())
    [scored] = summary["metric_per_case"]
    assert Path(scored["reference_file"]).parts[-2:] == ("gt_segmentations", f"{HELD_OUT}.nii.gz")

    predictor = Predictor.from_folder(second, (0,), settings=CPU_IN_FP32)
    case = CaseStore(cascade / predictor.model.config.data_identifier)[HELD_OUT]
    labels = open_prediction(predicted, HELD_OUT, case.image.shape[1:])[:, :, :, :]
    channels = [case.image[:], labels == 1, labels == 2, labels == 3]
    logits = predictor.predict_logits(np.concatenate(channels)).numpy()
    expected = export_case(logits, case.properties, predictor.export_recipe)
    found = read_label(second / f"fold_0/validation/{HELD_OUT}.nii.gz").array[0]
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1


def test_a_next_stage_that_is_not_preprocessed_does_not_cost_the_validation(
    cascade: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cascade / f"{PLANS}.json"
    document = json.loads(path.read_text())
    document["configurations"]["second"]["data_identifier"] = "elsewhere"
    path.write_text(json.dumps(document))
    assert train(monkeypatch, "first", "0") == 0
    assert (model_folder(cascade, "first") / "fold_0/validation/summary.json").is_file()
    assert "elsewhere: no such folder of preprocessed cases" in capsys.readouterr().err


def test_a_case_without_reference_is_named_and_the_others_are_scored(
    cascade: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cascade / f"gt_segmentations/{CASES[0]}.nii.gz").unlink()
    assert train(monkeypatch, "tiny", "all") == 1
    assert f"{CASES[0]}.nii.gz: no such file" in capsys.readouterr().err
    path = model_folder(cascade, "tiny") / "fold_all/validation/summary.json"
    assert len(json.loads(path.read_text())["metric_per_case"]) == 2


def test_missing_cases_that_are_allowed_are_not_validated(
    cascade: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stored in cascade.glob(f"nnUNetPlans_*/{CASES[0]}*"):
        stored.unlink()
    assert train(monkeypatch, "tiny", "all") == 2
    assert train(monkeypatch, "tiny", "all", "--allow-missing-cases") == 0
    assert "Predicting 2 held-out cases" in capsys.readouterr().out
    fold = model_folder(cascade, "tiny") / "fold_all"
    assert json.loads((fold / "cases.json").read_text())["missing"] == [CASES[0]]
    summary = json.loads((fold / "validation/summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    record = json.loads((fold / "validation/validation.json").read_text())
    assert record["mirror_axes"] == [0, 1, 2]


def test_a_trained_fold_is_validated_again_with_the_probabilities_that_select_averages(
    cascade: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv(WANDB_ENABLED, "1")
    assert train(monkeypatch, "first", "0") == 0
    folder = model_folder(cascade, "first") / "fold_0"
    weights = (folder / "checkpoint_final.pth").read_bytes()
    assert not list(folder.glob("validation/*.npz"))

    assert train(monkeypatch, "first", "0", "--resume", "--npz") == 0
    assert (folder / "checkpoint_final.pth").read_bytes() == weights
    probabilities = np.load(folder / f"validation/{HELD_OUT}.npz")["probabilities"]
    labels = read_label(folder / f"validation/{HELD_OUT}.nii.gz").array[0]
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), labels)
    assert (folder / f"validation/{HELD_OUT}.pkl").is_file()

    means = json.loads((folder / "validation/summary.json").read_text())
    scores = {f"final_val/class_{key}_dice": mean["Dice"] for key, mean in means["mean"].items()}
    scores["final_val/foreground_dice"] = means["foreground_mean"]["Dice"]
    sent = [call.args[0] for call in wandb.init.return_value.summary.update.call_args_list]
    assert sent == [pytest.approx(scores, nan_ok=True)] * 2
    assert len({call.kwargs["id"] for call in wandb.init.call_args_list}) == 1
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train(monkeypatch, "first", "0", "--resume", "--npz") == 2

    assert train(monkeypatch, "first", "0", "--npz", "--no-validation") == 2
    assert "contradict" in capsys.readouterr().err


def test_a_trained_fold_is_validated_on_the_cases_that_it_held_out(
    cascade: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(monkeypatch, "tiny", "0") == 0
    fold = model_folder(cascade, "tiny") / "fold_0"
    splits = [{"train": [HELD_OUT, CASES[0]], "val": [CASES[1]]}]
    (cascade / "splits_final.json").write_text(json.dumps(splits))
    capsys.readouterr()
    assert train(monkeypatch, "tiny", "0", "--resume", "--npz") == 0
    warned = " ".join(capsys.readouterr().err.split())
    assert f"held-out cases: now also {CASES[1]}, no longer {HELD_OUT}" in warned
    assert json.loads((fold / "cases.json").read_text())["val"] == [HELD_OUT]
    assert {path.name.partition(".")[0] for path in fold.glob("validation/phantom*")} == {HELD_OUT}
    for stored in cascade.glob(f"nnUNetPlans_*/{HELD_OUT}*"):
        stored.unlink()
    (cascade / "splits_final.json").write_text(json.dumps([{"train": CASES, "val": [CASES[1]]}]))
    assert train(monkeypatch, "tiny", "0", "--resume") == 1
    assert f"{HELD_OUT}. Preprocess them" in " ".join(capsys.readouterr().err.split())
