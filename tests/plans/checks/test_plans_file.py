import json
from pathlib import Path

from resenc_plans import Plans
from resenc_plans.plans.checks.plans_file import UNREADABLE_RULE, check_plans_file
from resenc_plans.plans.faults import SCHEMA_RULE
from tests.plans.documents import document


def test_good_plans_have_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    Plans.from_dict(document()).save(path)
    assert check_plans_file(path) == ()


def test_faults_of_the_schema_come_before_those_of_the_rules(tmp_path: Path) -> None:
    content = document(x={"inherits_from": "3d_fullres", "batch_size": 1})
    content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["n_stages"] = 2
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    path.write_text(json.dumps(content | {"dataset_name": None, "label_manager": 3}))
    assert [finding.rule for finding in check_plans_file(path)] == [SCHEMA_RULE]
    path.write_text(json.dumps(content))
    assert {finding.rule for finding in check_plans_file(path)} >= {"P003", "P103"}


def test_a_file_that_cannot_be_read_and_a_bad_dataset_beside_it_are_findings(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "Dataset004_Hippocampus"
    folder.mkdir()
    path = folder / "nnUNetResEncUNetMPlans.json"
    (finding,) = check_plans_file(path)
    assert (finding.rule, finding.severity) == (UNREADABLE_RULE, "error")
    assert "no such file" in finding.message
    Plans.from_dict(document()).save(path)
    (folder / "dataset.json").write_text("{}")
    (finding,) = check_plans_file(path)
    assert (finding.rule, finding.key) == (UNREADABLE_RULE, "dataset.json")


def test_the_dataset_beside_the_file_is_used_unless_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    Plans.from_dict(document()).save(path)
    described = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumor": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    assert "P009" in {finding.rule for finding in check_plans_file(path)}


def test_what_only_the_types_refuse_has_its_place_too(tmp_path: Path) -> None:
    path = tmp_path / "nnUNetResEncUNetMPlans.json"
    content = document(**{"bs.2": {"inherits_from": "3d_fullres", "batch_size": 2.0}})
    path.write_text(json.dumps(content))
    [finding] = check_plans_file(path)
    assert (finding.rule, finding.configuration, finding.key, finding.message) == (
        SCHEMA_RULE,
        "bs.2",
        "batch_size",
        "must be an integer, not 2.0.",
    )
