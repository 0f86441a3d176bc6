"""Files of all kinds, recognised by their keys and checked by their models."""

import json
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.datasets.finding import Finding
from resenc_plans.workflows.check_file import check_file
from tests.plans.documents import document

DATASET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0}, "file_ending": ".nii"}
INTENSITIES = dict.fromkeys(
    ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0
)
FINGERPRINT: dict[str, Any] = {
    "spacings": [[1.0, 1.0, 1.0]],
    "shapes_after_crop": [[9, 9, 9]],
    "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
    "median_relative_size_after_cropping": 1.0,
}
METRICS = dict.fromkeys(("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"), 0.5)
CASE = {"metrics": {"1": METRICS}, "prediction_file": "a.nii", "reference_file": "b.nii"}
SUMMARY: dict[str, Any] = {"mean": {"1": METRICS}, "metric_per_case": [CASE]}
SETTINGS = {"epochs": 100, "learning_rate": 0.01}
SPLITS = [{"train": ["a"], "val": ["b"]}]


def findings(folder: Path, content: Any) -> tuple[Finding, ...]:
    path = folder / "nnUNetResEncUNetMPlans.json"
    path.write_text(json.dumps(content))
    return check_file(path)


@pytest.mark.parametrize(
    "content", [document(), DATASET, FINGERPRINT, SUMMARY, SETTINGS, SPLITS], ids=range(6)
)
def test_sound_files_have_no_findings(tmp_path: Path, content: Any) -> None:
    assert findings(tmp_path, content) == ()


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        ({"plans_name": "x"}, "configurations", "is missing"),
        ({"plans_per_stage": {}}, "", "nnU-Net 1"),
        ({**DATASET, "file_ending": 3}, "file_ending", "must be a text, not 3"),
        ({"labels": {}, "file_ending": ".nii"}, "channel_names", "is missing"),
        ({**DATASET, "labels": {"background": 1}}, "labels", "must be 0"),
        ({**FINGERPRINT, "spacings": [[1, 1, "x"]]}, "spacings[0][2]", "must be a number, not 'x'"),
        ({"epochs": 3, "learning_rat": 1}, "learning_rat", "did you mean learning_rate?"),
        ({"epochs": 0}, "epochs", "must be at least 1"),
        ({**SUMMARY, "mean": None}, "", "mean is missing"),
        (
            {**SUMMARY, "metric_per_case": [CASE | {"metrics": {"1": {"Dice": 0.5}}}]},
            "",
            "metric_per_case[0].metrics.1.FN is missing",
        ),
        ([{"train": ["a"]}], "", "val must be a list"),
    ],
)
def test_a_fault_is_named_with_its_key(tmp_path: Path, content: Any, key: str, words: str) -> None:
    [finding] = findings(tmp_path, content)
    assert (finding.rule, finding.severity, finding.key) == ("S001", "error", key)
    assert words in finding.message


@pytest.mark.parametrize("content", [{"answer": 42}, {}, [], 3, "text"])
def test_a_foreign_file_is_said_to_be_none_of_these(tmp_path: Path, content: Any) -> None:
    [finding] = findings(tmp_path, content)
    assert (finding.rule, finding.severity) == ("S002", "warning")
    assert finding.message.startswith("is not one of the files that are checked")


def test_of_a_study_the_command_that_checks_it_is_named(tmp_path: Path) -> None:
    [finding] = findings(tmp_path, {"datasets": ["4"], "methods": {}})
    assert (finding.rule, finding.severity) == ("S002", "note")
    assert "resenc-plans study check" in finding.message


def test_a_damaged_fingerprint_beside_plans_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "dataset_fingerprint.json").write_text("{}")
    [finding] = findings(tmp_path, document())
    assert (finding.rule, finding.key) == ("S000", "dataset_fingerprint.json")


RUN = {"name": "a", "configuration": {}, "settings": {}, "precision": "float32", "code": {}}


@pytest.mark.parametrize("content", [RUN, {"precision": "fp32", "step_size": 1, "axes": []}])
def test_a_record_of_a_run_is_not_taken_for_settings(tmp_path: Path, content: Any) -> None:
    [finding] = findings(tmp_path, content)
    assert finding.rule == "S002"


def test_earlier_settings_are_recognised(tmp_path: Path) -> None:
    assert findings(tmp_path, {"momentum": 0.9}) == ()
