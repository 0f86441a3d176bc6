import json
from pathlib import Path

import pytest

from resenc_plans import Plans
from resenc_plans.errors import DatasetError, PlansError
from resenc_plans.plans.configuration import input_channels
from resenc_plans.plans.plans import plans_files
from tests.plans.documents import document

DATASET = {
    "channel_names": {"0": "T1"},
    "labels": {"background": 0, "tumor": 1, "edema": 2},
    "file_ending": ".nii.gz",
}


def test_labels_come_from_the_dataset_json_beside_the_plans(tmp_path: Path) -> None:
    plan = Plans.from_dict(document(second={"inherits_from": "3d_fullres", "previous_stage": "x"}))
    with pytest.raises(PlansError, match="in no file"):
        plan.header.labels()
    plan.save(tmp_path / "plans.json")
    with pytest.raises(DatasetError, match=r"no dataset\.json beside it"):
        plan.header.labels()
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    labels = plan.resolve("3d_fullres").plans.labels()
    assert labels.num_heads == 3
    assert input_channels(plan.resolve("3d_fullres"), labels) == 1
    assert input_channels(plan.resolve("second"), labels) == 3


def test_an_intensity_key_that_is_no_channel_number_is_named() -> None:
    content = document()
    intensities = content["foreground_intensity_properties_per_channel"]
    intensities["first"] = intensities["0"]
    header = Plans.from_dict(content).header
    with pytest.raises(PlansError, match="'first' is not a channel number"):
        header.intensity_properties  # noqa: B018


def test_channels_are_in_the_order_of_their_numbers() -> None:
    content = document()
    (values,) = content["foreground_intensity_properties_per_channel"].values()
    content["foreground_intensity_properties_per_channel"] = {
        str(channel): values | {"median": float(channel)} for channel in (10, 9, 0)
    }
    medians = [each.median for each in Plans.from_dict(content).header.intensity_properties]
    assert medians == [0.0, 9.0, 10.0]


def test_plans_files_of_a_folder_are_those_with_configurations(tmp_path: Path) -> None:
    Plans.from_dict(document()).save(tmp_path / "b.json")
    Plans.from_dict(document()).save(tmp_path / "a.json")
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    (tmp_path / "notes.json").write_text("{")
    assert [path.name for path in plans_files(tmp_path)] == ["a.json", "b.json"]
    (tmp_path / "c.json").write_text('{"plans_name": "c", "configurations": {')
    (tmp_path / "MyPlans.json").write_text("")
    names = [path.name for path in plans_files(tmp_path)]
    assert names == ["MyPlans.json", "a.json", "b.json", "c.json"]
    assert plans_files(tmp_path / "nothing") == []
