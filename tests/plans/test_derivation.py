import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans import Plans
from resenc_plans.errors import ConfigurationError, PlansError, UsageError
from resenc_plans.plans.architectures import ResidualEncoderUNetArchitecture
from resenc_plans.plans.configuration import ResolvedConfiguration
from tests.plans.documents import CONFIGURATION, document


def test_a_batch_size_is_written_as_nnunet_s_documentation_writes_it() -> None:
    plan = Plans.from_dict(document())
    plan.derive("3d_fullres_bs16", from_="3d_fullres", batch_size=16)
    assert plan.to_dict()["configurations"]["3d_fullres_bs16"] == {
        "inherits_from": "3d_fullres",
        "batch_size": 16,
    }
    assert plan.resolve("3d_fullres_bs16").batch_size == 16


def test_nothing_else_in_the_document_changes() -> None:
    content = document()
    plan = Plans.from_dict(content).derive("x", from_="3d_fullres", batch_size=4)
    after = plan.to_dict()
    del after["configurations"]["x"]
    assert after == content


def test_child_replaces_architecture_whole() -> None:
    plan = Plans.from_dict(document())
    blocks: dict[str, Any] = {"architecture.arch_kwargs.n_blocks_per_stage": [1, 4, 6]}
    plan.derive("deeper", from_="3d_fullres", **blocks)
    child = plan.to_dict()["configurations"]["deeper"]["architecture"]
    expected = {**CONFIGURATION["architecture"]}
    expected["arch_kwargs"] = {**expected["arch_kwargs"], "n_blocks_per_stage": [1, 4, 6]}
    assert child == expected


def test_a_mapping_merges_like_dotted_keys() -> None:
    order: dict[str, Any] = {"resampling_fn_probabilities_kwargs.order": 0}
    dotted = Plans.from_dict(document()).derive("x", from_="3d_fullres", **order)
    mapping = Plans.from_dict(document()).derive(
        "x", from_="3d_fullres", resampling_fn_probabilities_kwargs={"order": 0}
    )
    assert dotted == mapping
    assert dotted.resolve("x").resampling_fn_probabilities_kwargs.order_z == 0


def test_several_keys_of_one_object_add_up() -> None:
    overrides: dict[str, Any] = {
        "architecture.arch_kwargs.n_blocks_per_stage": [1, 1, 1],
        "architecture.arch_kwargs.features_per_stage": [8, 16, 32],
    }
    plan = Plans.from_dict(document()).derive("x", from_="3d_fullres", **overrides)
    arguments = plan.resolve("x").architecture.arch_kwargs
    assert arguments.n_blocks_per_stage == (1, 1, 1)
    assert arguments.features_per_stage == (8, 16, 32)


def test_changed_preprocessing_gets_data_of_its_own() -> None:
    plan = Plans.from_dict(document()).derive("iso", from_="3d_fullres", spacing=[0.5, 1.0, 2.0])
    child = plan.to_dict()["configurations"]["iso"]
    assert child["data_identifier"] == "nnUNetResEncUNetMPlans_iso"
    assert child["median_image_size_in_voxels"] == [72, 50.0, 18]
    assert not [f for f in plan.validate_rules() if f.severity == "error"]


def test_a_data_identifier_of_one_s_own_is_kept() -> None:
    plan = Plans.from_dict(document()).derive(
        "iso", from_="3d_fullres", spacing=[2.0, 2.0, 2.0], data_identifier="mine"
    )
    assert plan.resolve("iso").data_identifier == "mine"


def test_the_same_spacing_needs_no_data_of_its_own() -> None:
    plan = Plans.from_dict(document()).derive("x", from_="3d_fullres", spacing=[1.0, 1.0, 1.0])
    assert set(plan.to_dict()["configurations"]["x"]) == {"inherits_from", "spacing"}


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": "4"}, "batch_size must be an integer"),
        ({"patch_size": [32, 64]}, "patch_size has 2 axes"),
        ({"spacing": [1.0, -1.0, 1.0]}, "positive"),
        ({"spacing": [1.0]}, "3 numbers are needed"),
        ({"batch_size.inner": 2}, "not an object"),
        ({"batch_size": None}, "must be an integer"),
        ({"..": 4}, "is not a key"),
    ],
)
def test_impossible_overrides_leave_the_plans_as_they_were(
    overrides: dict[str, Any], fault: str
) -> None:
    plan = Plans.from_dict(document())
    with pytest.raises(PlansError, match=fault):
        plan.derive("x", from_="3d_fullres", **overrides)
    assert plan.to_dict() == document()


@pytest.mark.parametrize("name", ["", " x", "s p", ".", "..", "a__b", "a/b", "a\\b"])
def test_names_that_break_folders_are_refused(name: str) -> None:
    with pytest.raises(PlansError, match="cannot name a configuration"):
        Plans.from_dict(document()).derive(name, from_="3d_fullres", batch_size=4)


def test_a_taken_name_needs_overwrite() -> None:
    plan = Plans.from_dict(document()).derive("x", from_="3d_fullres", batch_size=4)
    with pytest.raises(PlansError, match="already"):
        plan.derive("x", from_="3d_fullres", batch_size=8)
    plan.derive("x", from_="3d_fullres", batch_size=8, overwrite=True)
    assert plan.resolve("x").batch_size == 8


def test_a_parent_that_derives_from_itself_by_overwriting_is_refused() -> None:
    plan = Plans.from_dict(document())
    with pytest.raises(PlansError, match="cannot inherit from itself"):
        plan.derive("3d_fullres", from_="3d_fullres", batch_size=4, overwrite=True)
    assert plan.to_dict() == document()


@given(st.integers(1, 512), st.integers(1, 3))
def test_a_chain_of_derivations_resolves_to_the_last_batch_size(batch: int, length: int) -> None:
    plan = Plans.from_dict(document())
    parent = "3d_fullres"
    for step in range(length):
        plan.derive(f"s{step}", from_=parent, batch_size=batch + step)
        parent = f"s{step}"
    assert plan.resolve(parent).batch_size == batch + length - 1
    assert plan.resolve(parent).patch_size == plan.resolve("3d_fullres").patch_size


def test_old_format_parents_are_derived_from_in_the_current_format() -> None:
    from tests.plans.documents import OLD_CONFIGURATION

    plan = Plans.from_dict(document(old=OLD_CONFIGURATION))
    bias: dict[str, Any] = {"architecture.arch_kwargs.conv_bias": False}
    plan.derive("x", from_="old", **bias)
    assert plan.resolve("x").architecture.arch_kwargs.conv_bias is False
    assert isinstance(plan.resolve("x").batch_size, int)
    with pytest.raises(ConfigurationError):
        plan.derive("y", from_="old", patch_size=[1, 2, 3, 4])


def test_null_is_a_value_that_an_override_may_have() -> None:
    override: dict[str, Any] = {"architecture.arch_kwargs.nonlin_kwargs": None}
    plan = Plans.from_dict(document()).derive("x", from_="3d_fullres", **override)
    assert plan.resolve("x").architecture.arch_kwargs.nonlin_kwargs is None


def test_name_and_parent_follow_from_what_is_new() -> None:
    plan = Plans.from_dict(document(**{"2d": {"inherits_from": "3d_fullres"}}))
    plan.derive(batch_size=16)
    assert plan.to_dict()["configurations"]["3d_fullres_bs16"] == {
        "inherits_from": "3d_fullres",
        "batch_size": 16,
    }
    plan.derive(from_="2d", gpus=3, spacing=[2.0, 1.0, 1.0])
    assert plan.resolve("2d_bs6_sp2x1x1").batch_size == 6
    only_2d = Plans.from_dict({"configurations": {"x": CONFIGURATION, "2d": CONFIGURATION}})
    assert "2d_bs3" in only_2d.derive(batch_size=3).configurations


def test_a_patch_size_gets_its_topology_and_is_rounded_up() -> None:
    plan = Plans.from_dict(document()).derive(patch_size=(60, 120, 120))
    config = plan.resolve("3d_fullres_ps64x128x128")
    assert config.patch_size == (64, 128, 128)
    assert isinstance(config.architecture, ResidualEncoderUNetArchitecture)
    assert config.architecture.arch_kwargs.n_stages == 6
    assert not [f for f in plan.validate_rules() if f.severity == "error"]


def test_what_is_overridden_inside_the_architecture_comes_after_the_topology() -> None:
    blocks: dict[str, Any] = {"architecture.arch_kwargs.n_blocks_per_stage": [1] * 6}
    plan = Plans.from_dict(document()).derive(**blocks, patch_size=[64, 128, 128])
    architecture = plan.resolve("3d_fullres_ps64x128x128").architecture
    assert isinstance(architecture, ResidualEncoderUNetArchitecture)
    assert architecture.arch_kwargs.n_stages == 6
    assert architecture.arch_kwargs.n_blocks_per_stage == (1,) * 6


def test_a_patch_size_that_keeps_the_topology_is_taken_as_it_is() -> None:
    plan = Plans.from_dict(document()).derive(patch_size=[60, 120, 120], keep_topology=True)
    assert plan.to_dict()["configurations"]["3d_fullres_ps60x120x120"] == {
        "inherits_from": "3d_fullres",
        "patch_size": [60, 120, 120],
    }


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "Nothing to change"),
        ({"batch_size": 4, "gpus": 2}, "give one of them"),
        ({"batch_dice": True}, "batch_dice alone does not suggest a name"),
    ],
)
def test_arguments_that_do_not_suffice_or_contradict_each_other_are_refused(
    arguments: dict[str, Any], fault: str
) -> None:
    plan = Plans.from_dict(document())
    with pytest.raises(UsageError, match=fault):
        plan.derive(**arguments)
    assert plan.to_dict() == document()


def test_new_findings_are_those_of_one_configuration_that_were_not_there_before() -> None:
    before = Plans.from_dict(document(single={"inherits_from": "3d_fullres", "batch_size": 1}))
    plan = Plans.from_dict(before.to_dict()).derive("x", from_="3d_fullres", batch_size=1)
    assert [finding.rule for finding in plan.new_findings(before, "x")] == ["P103"]
    assert plan.new_findings(before, "single") == ()


SEGRESNET = "monai.networks.nets.SegResNet"


@pytest.mark.parametrize(
    "overrides",
    [
        {"architecture": {"network_class_name": SEGRESNET, "arch_kwargs": {"init_filters": 8}}},
        {
            "architecture.arch_kwargs.init_filters": 8,
            "architecture.network_class_name": SEGRESNET,
        },
    ],
)
def test_a_new_class_replaces_the_architecture(overrides: dict[str, Any]) -> None:
    plan = Plans.from_dict(document()).derive(**overrides)
    assert plan.to_dict()["configurations"]["3d_fullres_SegResNet"] == {
        "inherits_from": "3d_fullres",
        "architecture": {
            "network_class_name": SEGRESNET,
            "arch_kwargs": {"init_filters": 8},
            "_kw_requires_import": [],
        },
    }


def test_arguments_of_the_parent_s_own_class_are_merged_into_it() -> None:
    plan = Plans.from_dict(document()).derive("mine", architecture={"network_class_name": "x.Net"})
    more: dict[str, Any] = {"architecture.arch_kwargs.depth": 3}
    plan.derive("deeper", from_="mine", **more)
    spelled = {"network_class_name": "ResidualEncoderUNet", "arch_kwargs": {"conv_bias": False}}
    plan.derive("same", architecture=spelled)
    written = plan.to_dict()["configurations"]
    assert written["deeper"]["architecture"]["arch_kwargs"] == {"depth": 3}
    assert written["same"]["architecture"]["arch_kwargs"]["n_stages"] == 3


def test_a_patch_for_a_new_class_is_taken_as_it_is_and_checked_by_what_is_known_of_it() -> None:
    network = {"network_class_name": SEGRESNET}
    plan = Plans.from_dict(document()).derive(architecture=network, patch_size=[40, 48, 40])
    assert plan.resolve("3d_fullres_SegResNet_ps40x48x40").patch_size == (40, 48, 40)
    with pytest.raises(ConfigurationError, match=r"patch_size .*not a multiple of \[8, 8, 8\]"):
        plan.derive(architecture=network, patch_size=[42, 48, 40])


def test_a_patch_for_a_known_network_is_rounded_up_to_what_it_takes() -> None:
    plan = Plans.from_dict(document())
    plan.derive(
        "segresnet", architecture={"network_class_name": SEGRESNET}, patch_size=[64, 64, 64]
    )
    plan.derive(from_="segresnet", patch_size=[60, 48, 41])
    assert plan.resolve("segresnet_ps64x48x48").patch_size == (64, 48, 48)


def test_what_the_command_would_refuse_or_warn_of_python_does_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = Plans.from_dict(document())
    with pytest.raises(ConfigurationError, match=r"does not divide.*P002"):
        plan.derive("z", patch_size=[30, 64, 64], keep_topology=True)
    assert plan.to_dict() == document()
    plan.derive("slip", batchsize=3)
    assert "slip: batchsize is unknown" in caplog.text


def test_a_batch_beyond_the_dataset_and_a_patch_beyond_the_image_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}}
    keys |= {"numTraining": 20, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(keys))
    plan = Plans.from_dict(document(), path=tmp_path / "nnUNetResEncUNetMPlans.json")
    plan.derive("fits", batch_size=9)
    assert not caplog.text
    plan.derive("batch", batch_size=328)
    assert "is 328, which covers 3412% of the voxels of 20 cases" in caplog.text
    plan.derive("patch", patch_size=[512, 512, 512])
    assert "is 512x512x512, larger than the median image of 36x50x35 voxels" in caplog.text
    plan.derive("coarse", spacing=[2.0, 2.0, 2.0])
    assert "is 32x64x64, larger than the median image of 18x25x18 voxels" in caplog.text


def test_a_network_of_another_class_is_built_where_it_can_be(tmp_path: Path) -> None:
    asked: list[tuple[str, int, int]] = []

    def refuse(config: ResolvedConfiguration, channels: int, heads: int) -> None:
        asked.append((config.name, channels, heads))
        raise config.error("architecture.arch_kwargs do not fit Net.")

    plan = Plans.from_dict(document(other={"inherits_from": "3d_fullres"}))
    network = {"network_class_name": "x.Net"}
    plan.derive("first", architecture=network)
    with pytest.raises(ConfigurationError, match=r"second: architecture.arch_kwargs do not fit"):
        plan.derive("second", architecture=network, check_network=refuse)
    assert asked == [("second", 1, 2)]


def test_a_schedule_of_another_kind_replaces_the_parents() -> None:
    plan = Plans.from_dict(document())
    cosine = {"schedule": {"name": "cosine", "warmup_epochs": 10}, "epochs": 50}
    plan.derive("a", from_="3d_fullres", training=cosine)
    plan.derive("b", from_="a", training={"schedule": {"name": "polynomial"}})
    plan.derive("c", from_="a", training={"schedule": {"floor": 0.001}})
    written = plan.to_dict()["configurations"]
    assert written["b"]["training"] == {"schedule": {"name": "polynomial"}, "epochs": 50}
    assert written["c"]["training"]["schedule"]["warmup_epochs"] == 10
