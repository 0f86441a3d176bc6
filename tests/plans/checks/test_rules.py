from pathlib import Path
from typing import Any

import pytest

from resenc_plans import Dataset, Fingerprint, Plans
from resenc_plans.datasets.dataset_json import DatasetJson
from resenc_plans.plans.checks.rules import RULES
from resenc_plans.plans.configuration import PROVENANCE
from tests.plans.documents import CONFIGURATION, OLD_CONFIGURATION, document

SWIN_UNETR = {
    "network_class_name": "monai.networks.nets.SwinUNETR",
    "arch_kwargs": {"feature_size": 48},
    "_kw_requires_import": [],
}


CHILD = {"inherits_from": "3d_fullres", "batch_size": 4}


def findings(content: dict[str, Any], dataset: Any = None) -> dict[str, str]:
    """Rule id to message; one finding per rule is what these documents are made for."""
    return {f.rule: f.message for f in Plans.from_dict(content).validate_rules(dataset)}


def changed(**values: Any) -> dict[str, Any]:
    content = document()
    config = content["configurations"]["3d_fullres"]
    for key, value in values.items():
        target = config if key in config else config["architecture"]["arch_kwargs"]
        target[key] = value
    return content


def importing(*keys: str) -> dict[str, Any]:
    return changed(architecture=CONFIGURATION["architecture"] | {"_kw_requires_import": [*keys]})


def test_plans_that_nnunet_wrote_have_no_errors_and_no_warnings(shared: Path) -> None:
    for path in sorted(shared.glob("oracle/Dataset*/nnUNet*Plans*.json")):
        if "edited" in path.name:
            continue
        dataset = Dataset.load(str(path.parent))
        fingerprint = Fingerprint.load(path.parent / "dataset_fingerprint.json")
        found = Plans.load(path).validate_rules(dataset, fingerprint=fingerprint)
        assert [f for f in found if f.severity != "note"] == []


def test_a_complete_small_document_has_no_findings() -> None:
    assert findings(document()) == {}


def test_a_patch_that_does_not_divide_names_axis_divisor_and_sizes() -> None:
    message = findings(changed(patch_size=[30, 64, 64]))["P002"]
    assert "axis 0 has 30 voxels" in message
    assert "product 4" in message
    assert "28 or 32" in message


@pytest.mark.parametrize(
    ("content", "rule", "words"),
    [
        (document(a={"inherits_from": "a"}), "P001", "circle"),
        (document(a={"inherits_from": "nothing"}), "P001", "does not exist"),
        (changed(batch_size=0), "P001", "at least 1"),
        (changed(strides=[[1, 1, 1], [2, 2, 2]]), "P003", "has 2 entries, 3 are needed"),
        (changed(n_conv_per_stage_decoder=[1, 1, 1]), "P003", "has 3 entries, 2 are needed"),
        (changed(kernel_sizes=[[3, 3], [3, 3], [3, 3]]), "P003", "2 axes, patch_size has 3"),
        (changed(conv_op="torch.nn.modules.conv.Conv2d"), "P004", "works on 2 axes"),
        (changed(median_image_size_in_voxels=[3.0, 4.0]), "P004", "has 2 axes"),
        (document() | {"transpose_backward": [1, 0, 2]}, "P005", r"[0, 1, 2]"),
        (document() | {"transpose_forward": [0, 0, 2]}, "P005", "not an order"),
        (
            document(cascade={"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}),
            "P006",
            "'3d_lowres' does not exist",
        ),
        (
            document(cascade={"inherits_from": "3d_fullres", "previous_stage": "3d_fullres"}),
            "P006",
            "does not name cascade",
        ),
        (
            document(iso={"inherits_from": "3d_fullres", "spacing": [2.0, 2.0, 2.0]}),
            "P007",
            "spacing differs from 3d_fullres's",
        ),
        (
            document(
                iso={
                    "inherits_from": "3d_fullres",
                    "spacing": [2.0, 2.0, 2.0],
                    "data_identifier": "nnUNetPlans_3d_fullres",
                }
            ),
            "P008",
            "3d_fullres's too",
        ),
        (changed(use_mask_for_norm=[False, True]), "P009", "has 2 entries"),
        (
            document(bs={"inherits_from": "3d_fullres", "batchsize": 16}),
            "P101",
            "Did you mean batch_size?",
        ),
        (
            document(bs={"inherits_from": "3d_fullres", "patch-size": [1]}),
            "P101",
            "Did you mean patch_size?",
        ),
        (document() | {"plans_nam": "x"}, "P101", "Did you mean plans_name?"),
        (changed(patch_size=[8, 64, 64]), "P102", "2 voxels wide"),
        (changed(norm_op="torch.nn.modules.instancenorm.InstanceNorm2d"), "P011", "2 axes"),
        (changed(n_stages=1), "P012", "no decoder"),
        (document() | {"dataset_name": "/etc"}, "P013", "has a slash"),
        (document() | {"plans_name": ""}, "P013", "is empty"),
        (changed(data_identifier="../../../x"), "P013", "has a slash"),
        (document(**{"..": {"inherits_from": "3d_fullres"}}), "P013", "another folder"),
        (changed(num_classes=3), "P014", "not an argument"),
        (changed(patch_size=[4, 4, 4]), "P014", "the lowest stage has one voxel"),
        (
            changed(architecture=SWIN_UNETR, patch_size=[32, 32, 32]),
            "P014",
            "nearest that it takes: [32, 32, 64]",
        ),
        (changed(architecture=SWIN_UNETR, patch_size=[48, 64, 64]), "P014", "not a multiple"),
        (changed(stochastic_depth_p=3), "P014", "from 0 to 1"),
        (changed(conv_bais=False), "P014", "Did you mean conv_bias?"),
        (changed(nope=1), "P014", "not an argument"),
        (changed(architecture=CONFIGURATION["architecture"] | {"x": 1}), "P108", "no effect"),
        (changed(patch_size=[512, 64, 64]), "P110", "larger than the median image"),
        (changed(normalization_schemes=["ZScoreNormalisation"]), "P109", "ZScoreNormalization?"),
        (changed(preprocessor_name="MyPreprocessor"), "P109", "mean DefaultPreprocessor?"),
        (changed(resampling_fn_seg="resample_data_or_seg"), "P109", "seg_to_shape?"),
        (document() | {"image_reader_writer": "SimpelITKIO"}, "P109", "mean SimpleITKIO?"),
        (document() | {"label_manager": "Labels"}, "P109", "none of nnU-Net's: LabelManager."),
        (changed(resampling_fn_data_kwargs={"ordr": 1}), "P015", "did you mean order?"),
        (changed(kernel_sizes=[[3, 3, 3], [2, 2, 2], [3, 3, 3]]), "P014", "Use odd sizes"),
        (document() | {"bs1": CHILD}, "P113", "is a configuration, and belongs directly"),
        (document(a=CHILD | {"bs1": CHILD}), "P113", "is a configuration, and belongs directly"),
        (document() | {"batch_size": 3}, "P113", "belongs to a configuration"),
        (document(a=CHILD | {"plans_name": "x"}), "P113", "belongs to the file"),
        (document(a=CHILD | {"num_epochs": 5}), "P113", "under training of a configuration, as ep"),
        (document(a=CHILD | {"trainer": "x"}), "P113", "under training of a configuration"),
        (document(a=CHILD | {"n_conv_per_stage": 1}), "P113", "under architecture.arch_kwargs"),
        (document(a=CHILD | {"architecture.arch_kwargs.n_stages": 3}), "P113", "with dots"),
        (document(a=CHILD | {"UNet_base_num_features": 48}), "P113", "beside architecture"),
        (importing("conv_op", "norm_op"), "P114", "lacks nonlin, so that nnU-Net cannot"),
        (importing("conv_op", "norm_op", "nonlin", "act"), "P114", "has act, no argument here"),
        (document() | {"transpose_forward": [0, 1]}, "P005", "the axes 0, 1 and 2"),
        (changed(strides=[2, 1, 2]), "P014", "is [2, 2, 2]: the output would be smaller"),
        (
            changed(normalization_schemes=["CTNormalization"])
            | {"foreground_intensity_properties_per_channel": None},
            "P010",
            "which lacks channel 0",
        ),
        ({"configurations": {}}, "P105", "nnU-Net cannot train"),
        (changed(batch_size=1), "P103", "is 1"),
        (document(old=OLD_CONFIGURATION), "P203", "upgrade"),
        (document() | {"my_note": 1}, "P202", "kept"),
        (
            document() | {PROVENANCE: {"gpu_memory_gb": 80}},
            "P106",
            "stands for 8 GB, but these plans are for 80 GB",
        ),
    ],
)
def test_each_fault_is_found_by_its_rule(content: dict[str, Any], rule: str, words: str) -> None:
    assert words in findings(content)[rule]


def test_a_key_in_the_wrong_place_is_one_finding() -> None:
    for content in (document(a=CHILD | {"n_conv_per_stage": 1}), document() | {"patch_size": [1]}):
        assert findings(content).keys() == {"P113"}


def test_missing_keys_of_the_file_are_a_warning() -> None:
    content = document()
    del content["transpose_forward"], content["transpose_backward"]
    assert "cannot train" in findings(content)["P105"]


def test_the_file_s_name_should_be_the_plans_name(tmp_path: Path) -> None:
    Plans.from_dict(document()).save(tmp_path / "other.json")
    found = Plans.load(tmp_path / "other.json").validate_rules()
    assert [f.rule for f in found] == ["P104"]


def test_the_file_lies_with_the_dataset_that_it_names(tmp_path: Path) -> None:
    def found(folder: str, name: str = "nnUNetResEncUNetMPlans.json") -> list[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        Plans.from_dict(document()).save(tmp_path / folder / name)
        return [f.message for f in Plans.load(tmp_path / folder / name).validate_rules()]

    assert found("Dataset004_Hippocampus") == found("elsewhere") == []
    [message] = found("Dataset005_Other")
    assert message.startswith("is Dataset004_Hippocampus, but the file is in Dataset005_Other: ")
    (tmp_path / "elsewhere" / "dataset.json").touch()
    assert len(found("elsewhere")) == 1
    assert found("elsewhere", "plans.json") == []


def test_channels_of_the_dataset_are_compared() -> None:
    dataset = DatasetJson.from_dict(
        {
            "channel_names": {"0": "T1", "1": "T2"},
            "labels": {"background": 0, "tumor": 1},
            "file_ending": ".nii.gz",
            "numTraining": 3,
        }
    )
    found = findings(document(), dataset)
    assert "dataset.json has 2 channels" in found["P009"]
    assert "dataset.json has 2" in found["P010"]


def test_a_changed_fingerprint_is_noticed(shared: Path) -> None:
    path = shared / "oracle" / "Dataset004_Hippocampus" / "dataset_fingerprint.json"
    fingerprint = Fingerprint.load(path)
    content = document() | {PROVENANCE: {"fingerprint_digest": fingerprint.digest()}}
    assert Plans.from_dict(content).validate_rules(fingerprint=fingerprint) == ()
    content[PROVENANCE]["fingerprint_digest"] = "0" * 64
    found = Plans.from_dict(content).validate_rules(fingerprint=fingerprint)
    assert [f.rule for f in found] == ["P107"]
    assert "Plan the dataset again" in found[0].message
    content[PROVENANCE]["dataset"] = "Dataset501_BrainMR"
    (moved,) = Plans.from_dict(content).validate_rules(fingerprint=fingerprint)
    assert "made for Dataset501_BrainMR and moved to Dataset004_Hippocampus" in moved.message


def test_errors_come_first() -> None:
    content = changed(batch_size=1, patch_size=[30, 64, 64]) | {"my_note": 1}
    severities = [f.severity for f in Plans.from_dict(content).validate_rules()]
    assert severities == ["error", "warning", "note"]


def test_rule_ids_are_unique_and_tell_their_severity() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    group = {"error": "P0", "warning": "P1", "note": "P2"}
    assert all(rule.id.startswith(group[rule.severity]) for rule in RULES)


def cases(number: int) -> DatasetJson:
    return DatasetJson.from_dict(
        {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "tumor": 1},
            "file_ending": ".nii.gz",
            "numTraining": number,
        }
    )


def of_planner(name: str, batch_size: int, **configurations: dict[str, Any]) -> dict[str, Any]:
    content = document(**configurations) | {"experiment_planner_used": name}
    content["configurations"]["3d_fullres"]["batch_size"] = batch_size
    return content


def test_a_batch_that_a_planner_sized_is_no_finding(shared: Path) -> None:
    assert "P201" not in findings(of_planner("nnUNetPlannerResEncM", 4), cases(10))
    for path in sorted(shared.glob("oracle/Dataset*/nnUNet*Plans*.json")):
        if "edited" not in path.name:
            dataset = Dataset.load(str(path.parent))
            assert "P201" not in findings(Plans.load(path).to_dict(), dataset), path


def test_a_batch_that_somebody_derived_names_the_planner_that_stops_earlier() -> None:
    child = {"inherits_from": "3d_fullres", "batch_size": 4}
    content = of_planner("nnUNetPlannerResEncM", 2, child=child)
    [finding] = Plans.from_dict(content).validate_rules(cases(10))
    assert (finding.rule, finding.configuration) == ("P201", "child")
    assert "nnU-Net's ResEncUNetPlanner stops at 5%; nnUNetPlannerResEncM, which" in finding.message
    child["batch_size"] = 2
    assert (
        Plans.from_dict(of_planner("nnUNetPlannerResEncM", 2, child=child)).validate_rules(
            cases(10)
        )
        == ()
    )


def test_a_batch_beyond_the_own_planner_s_limit_names_that_planner() -> None:
    assert "P201" not in findings(of_planner("ExperimentPlanner", 2), cases(10))
    message = findings(of_planner("ExperimentPlanner", 4), cases(10))["P201"]
    assert message.endswith("83% of the voxels of 10 cases. ExperimentPlanner stops at 5%.")
    content = of_planner("ExperimentPlanner", 4) | {PROVENANCE: {"batch_cap": 1}}
    assert "P201" not in findings(content, cases(10))


def test_each_value_with_which_a_configuration_does_not_resolve_is_a_key() -> None:
    content = document(x={"inherits_from": "3d_fullres", "batch_size": 0, "spacing": [1, -1, 1]})
    content["configurations"]["x"]["patch_size"] = [0, 64, 64]
    found = [each for each in Plans.from_dict(content).validate_rules() if each.rule == "P001"]
    assert [(finding.key, finding.configuration) for finding in found] == [
        ("batch_size", "x"),
        ("patch_size[0]", "x"),
        ("spacing", "x"),
    ]
    assert found[0].message == "must be at least 1, not 0."
    slip = findings(document(x={"inherits_from": "3d_fulres"}))["P001"]
    assert slip.endswith("Did you mean 3d_fullres?")


def test_a_slip_in_inherits_from_is_named_and_not_all_that_is_missing() -> None:
    content = document(x={"inherit_from": "3d_fullres", "batch_size": 2})
    message = findings(content)["P001"]
    assert message.startswith("is missing, and so are 15 values, such as data_identifier, ")
    assert message.endswith(
        'Write it in place of inherit_from, as in "inherits_from": "3d_fullres".'
    )
