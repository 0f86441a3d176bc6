"""Plans of one dataset for another: what changes, and what is said of the datasets."""

import re
from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Dataset, DatasetJson, Fingerprint, create_plans
from resenc_plans.errors import PlanningError
from resenc_plans.planning.moving import move_plans
from tests.planning.requests import DATASET, fingerprint


def target(folder: Path, **changes: Any) -> Dataset:
    (folder / "Dataset007_Target").mkdir(exist_ok=True)
    return Dataset(folder / "Dataset007_Target", DatasetJson.from_dict(DATASET | changes))


def test_a_new_name_names_the_folders_of_cases_too(tmp_path: Path) -> None:
    plan = create_plans(fingerprint(), DATASET, preset="XL")
    kept = move_plans(plan, target(tmp_path))
    assert kept.plans.to_dict() == plan.to_dict() | {"dataset_name": "Dataset007_Target"}
    moved = move_plans(plan, target(tmp_path), "Moved", source=DatasetJson.from_dict(DATASET))
    assert moved.plans.name == "Moved"
    assert moved.stores["3d_fullres"] == "Moved_nnUNetPlans_3d_fullres"
    assert {finding.rule for finding in moved.findings} == {"intensities", "no-fingerprint"}


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"channel_names": {"0": "CT", "1": "PET"}}, "channels", "for 1 channel, .* has 2"),
        ({"channel_names": {"0": "MRI"}}, "normalization", "by CTNormalization; .* ZScore"),
        ({"channel_names": {"0": "MRI"}}, "channel-names", "MRI; they are taken in this order"),
        (
            {"labels": {"background": 0, "organ": 1, "tumour": 2}},
            "labels",
            "3 outputs instead of 2: .*tumour 2.* output layers",
        ),
        ({"labels": {"background": 0, "lesion": 1}}, "labels", "mean other labels"),
        ({"file_ending": ".tif"}, "reader", "by NaturalImage2DIO instead of SimpleITKIO"),
    ],
)
def test_what_datasets_differ_in_is_told(
    changes: dict[str, Any], rule: str, words: str, tmp_path: Path
) -> None:
    plan = create_plans(fingerprint(), DATASET)
    moved = move_plans(plan, target(tmp_path, **changes), source=DatasetJson.from_dict(DATASET))
    (message,) = [finding.message for finding in moved.findings if finding.rule == rule]
    assert re.search(words, message), message
    if rule == "channels":
        with pytest.raises(PlanningError, match="do not fit the dataset"):
            moved.refuse_errors()
    else:
        moved.refuse_errors()


def test_spacings_and_slices_are_compared_by_the_fingerprint(tmp_path: Path) -> None:
    plan = create_plans(fingerprint(), DATASET)

    def rules(shape: tuple[int, ...], spacing: tuple[float, ...]) -> dict[str, str]:
        described = Fingerprint.from_dict(fingerprint(shape, spacing))
        moved = move_plans(plan, target(tmp_path), fingerprint=described)
        return {finding.rule: finding.severity for finding in moved.findings}

    assert "spacing" not in rules((40, 160, 160), (3.0, 0.8, 0.8))
    assert rules((40, 160, 160), (1.0, 0.8, 0.8))["spacing"] == "warning"
    assert rules((160, 40, 160), (0.8, 3.0, 0.8))["axes"] == "warning"
    assert rules((1, 160, 160), (999.0, 1.0, 1.0))["slices"] == "error"


def test_a_folder_of_cases_of_other_plans_is_told(tmp_path: Path) -> None:
    create_plans(fingerprint(), DATASET, preset="M").save(tmp_path / "nnUNetResEncUNetMPlans.json")
    plan = create_plans(fingerprint(), DATASET, preset="L")
    moved = move_plans(plan, target(tmp_path), preprocessed=tmp_path)
    shared = [finding for finding in moved.findings if finding.rule == "shared-data"]
    assert len(shared) == 2
    assert "nnUNetResEncUNetMPlans" in shared[0].message
    own = move_plans(plan, target(tmp_path), "Moved", preprocessed=tmp_path)
    assert not [finding for finding in own.findings if finding.rule == "shared-data"]
