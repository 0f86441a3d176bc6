from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans import Plans
from resenc_plans.errors import ConfigurationError, PlansError, UsageError
from resenc_plans.plans.architectures import ResidualEncoderUNetArchitecture
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
    plan.derive("x", from_="old", **{"architecture.arch_kwargs.conv_bias": False})
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
