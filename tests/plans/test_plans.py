import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resenc_plans import Plans
from resenc_plans.errors import (
    ConfigurationError,
    FileError,
    InheritanceError,
    PlansError,
    ResencPlansError,
    UsageError,
)
from tests.plans.documents import (
    CONFIGURATION,
    OLD_CONFIGURATION,
    document,
    json_values,
    plans_files,
)


def test_every_real_plans_file_is_saved_with_the_same_json_and_key_order(
    shared: Path, tmp_path: Path
) -> None:
    for path in plans_files(shared):
        Plans.load(path).save(tmp_path / "plans.json")
        assert json.dumps(json.loads((tmp_path / "plans.json").read_text())) == json.dumps(
            json.loads(path.read_text(encoding="utf-8-sig"))
        )


def test_plans_that_nnunet_wrote_are_saved_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    paths = sorted(shared.glob("oracle/Dataset*/nnUNet*Plans*.json"))
    assert len(paths) >= 12
    for path in paths:
        Plans.load(path).save(tmp_path / "plans.json")
        assert (tmp_path / "plans.json").read_bytes() == path.read_bytes()


def test_every_real_configuration_resolves_or_its_true_fault_is_named(shared: Path) -> None:
    faults: dict[str, str] = {}
    for path in plans_files(shared):
        plan = Plans.load(path)
        for name in plan.configurations:
            try:
                assert hash(plan.resolve(name)) == hash(plan.resolve(name))
            except ResencPlansError as error:
                faults[f"{path.parent.name}/{path.name}:{name}"] = str(error)
    foreign = [text for text in faults.values() if "has no current form" in text]
    incomplete = [text for text in faults.values() if "spacing is missing" in text]
    assert len(foreign) == 11
    assert len(incomplete) == 1
    assert len(faults) == 12


@given(json_values, st.text(min_size=1, max_size=8))
def test_unknown_values_survive_saving(
    tmp_path_factory: pytest.TempPathFactory, value: Any, key: Any
) -> None:
    path = tmp_path_factory.mktemp("plans") / "plans.json"
    content = document()
    content[f"x{key}"] = value
    content["configurations"]["3d_fullres"][f"x{key}"] = value
    Plans.from_dict(content).save(path)
    assert json.dumps(json.loads(path.read_text())) == json.dumps(content)


def test_not_a_number_is_kept(tmp_path: Path) -> None:
    content = document()
    content["foreground_intensity_properties_per_channel"]["0"]["mean"] = math.nan
    Plans.from_dict(content).save(tmp_path / "plans.json")
    saved = Plans.load(tmp_path / "plans.json")
    assert math.isnan(saved.intensity_properties[0].mean)


def test_a_resolved_configuration_is_typed_frozen_and_hashable() -> None:
    config = Plans.from_dict(document()).resolve("3d_fullres")
    assert config.patch_size == (32, 64, 64)
    assert config.architecture.arch_kwargs.n_blocks_per_stage == (1, 3, 4)
    assert config.resampling_fn_seg_kwargs.order == 1
    assert {config: "usable as a key"}[config]
    with pytest.raises(UsageError, match="cannot be changed"):
        setattr(config, "batch_size", 3)  # noqa: B010 (mypy knows that it cannot be set)


def test_unknown_keys_of_a_configuration_are_reachable() -> None:
    content = document()
    content["configurations"]["3d_fullres"]["my_note"] = "keep me"
    assert Plans.from_dict(content).resolve("3d_fullres").model_extra == {"my_note": "keep me"}


def test_a_resolved_configuration_knows_its_plans_as_they_were(tmp_path: Path) -> None:
    content = document(old=OLD_CONFIGURATION)
    plan = Plans.from_dict(content, "my plans")
    config = plan.resolve("3d_fullres")
    plan.derive("3d_fullres", from_="old", overwrite=True, batch_size=16)
    plan.upgrade()
    plan.save(tmp_path / "plans.json")
    assert (config.batch_size, config.to_dict()["batch_size"]) == (2, 2)
    assert config.plans.to_dict() == content
    assert (config.plans.source, config.plans.path) == ("my plans", None)
    assert plan.resolve("3d_fullres").plans.path == tmp_path / "plans.json"


def test_a_resolved_configuration_is_frozen_all_the_way() -> None:
    config = Plans.from_dict(document()).resolve("3d_fullres")
    assert {config.plans: "usable as a key"}[config.plans]
    with pytest.raises(AttributeError):
        config.plans.path = Path("elsewhere.json")  # type: ignore[misc]
    config.to_dict()["spacing"][0] = 99
    config.plans.to_dict()["transpose_forward"][0] = 99
    assert config.to_dict()["spacing"] == [1.0, 1.0, 1.0]
    assert config.plans.to_dict()["transpose_forward"] == [0, 1, 2]
    assert pickle.loads(pickle.dumps(config)) == config


def test_configurations_are_equal_if_they_and_what_plans_say_of_all_are() -> None:
    plan, other = Plans.from_dict(document()), Plans.from_dict(document(), "other")
    config = plan.resolve("3d_fullres")
    plan.derive("bs4", from_="3d_fullres", batch_size=4)
    assert plan.resolve("3d_fullres") == other.resolve("3d_fullres") == config
    content = document() | {"transpose_forward": [1, 0, 2]}
    assert Plans.from_dict(content).resolve("3d_fullres") != config


def test_the_old_name_of_intensity_properties_is_read() -> None:
    content = document()
    content["foreground_intensity_properties_by_modality"] = content.pop(
        "foreground_intensity_properties_per_channel"
    )
    assert Plans.from_dict(content).intensity_properties[0].median == 362.0


def test_plans_know_the_file_that_they_were_saved_to_or_loaded_from(tmp_path: Path) -> None:
    plan = Plans.from_dict(document(), "made up")
    assert (plan.path, plan.source) == (None, "made up")
    with pytest.raises(PlansError, match=r"made up: these plans are in no file.*Save the plans"):
        plan.folder  # noqa: B018
    plan.save(tmp_path / "first.json")
    assert (plan.path, plan.folder) == (tmp_path / "first.json", tmp_path)
    assert plan.source == str(tmp_path / "first.json")
    assert Plans.load(tmp_path / "first.json").path == tmp_path / "first.json"


def test_the_caller_s_dictionary_is_not_shared() -> None:
    content = document()
    plan = Plans.from_dict(content)
    content["configurations"]["3d_fullres"]["batch_size"] = 99
    plan.to_dict()["configurations"]["3d_fullres"]["batch_size"] = 98
    assert plan.resolve("3d_fullres").batch_size == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file is empty"),
        ("{", "too early"),
        ('{"a": 1, "a": 2}', "twice"),
        ("not json", "line 1, column 1"),
        ("[1, 2]", "not a plans file"),
        ('{"labels": {}}', "looks like a dataset.json"),
        ('{"shapes_after_crop": []}', "looks like a dataset fingerprint"),
        ('{"plans_per_stage": {}}', "nnU-Net 1"),
        ('[{"train": []}]', "looks like a splits_final.json"),
        ('{"configurations": {"2d": 5}}', "configurations.2d must be an object, not 5"),
        ('{"configurations": {"2d": {"batch_size": "2"}}}', "2d.batch_size must be an integer"),
        ('{"configurations": {"2d": {"patch_size": [1.5]}}}', r"2d.patch_size\[0\]"),
    ],
)
def test_what_is_not_plans_is_refused_with_the_reason(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "plans.json"
    path.write_text(text)
    with pytest.raises(ResencPlansError, match=fault) as raised:
        Plans.load(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        Plans.load(tmp_path / "plans.json")
    (tmp_path / "plans.json").write_bytes(b"\x80\x04\x95")
    with pytest.raises(FileError, match="not text"):
        Plans.load(tmp_path / "plans.json")


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text("[" * 100_000)
    with pytest.raises(FileError, match="nested too deeply"):
        Plans.load(tmp_path / "plans.json")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("batch_size", 0, "batch_size must be at least 1, not 0"),
        ("spacing", [1.0, 0.0, 1.0], "spacing .* positive"),
        ("spacing", [1.0, -1.0, 1.0], "spacing .* positive"),
        ("spacing", [1.0, 1.0], "patch_size has 3 axes and spacing 2"),
        ("patch_size", [32, 64], "patch_size has 2 axes and spacing 3"),
        ("patch_size", [32, 64, 0], r"patch_size\[2\] must be at least 1"),
    ],
)
def test_impossible_values_do_not_resolve(
    key: str, value: int | list[float] | list[int], fault: str
) -> None:
    content = document()
    content["configurations"]["3d_fullres"][key] = value
    with pytest.raises(ConfigurationError, match=fault) as raised:
        Plans.from_dict(content, "my.json").resolve("3d_fullres")
    assert str(raised.value).startswith("my.json: 3d_fullres: ")


def test_missing_values_are_all_named() -> None:
    content = document()
    for key in ("spacing", "batch_dice", "architecture"):
        del content["configurations"]["3d_fullres"][key]
    with pytest.raises(ConfigurationError, match=r"spacing is missing.*architecture.*batch_dice"):
        Plans.from_dict(content).resolve("3d_fullres")


def test_a_fault_inside_an_architecture_names_its_place() -> None:
    content = document()
    del content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["strides"]
    with pytest.raises(PlansError, match=r"architecture\.arch_kwargs\.strides is missing"):
        Plans.from_dict(content)


def test_a_foreign_network_keeps_its_arguments() -> None:
    content = document()
    content["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": "mylab.nets.PlainConvUNet",
        "arch_kwargs": {"depth": [1, {"x": 2}]},
    }
    arguments: Any = Plans.from_dict(content).resolve("3d_fullres").architecture.arch_kwargs
    assert arguments["depth"] == (1, {"x": 2})


def test_circles_and_missing_parents_print_the_chain() -> None:
    plan = Plans.from_dict(
        document(
            a={"inherits_from": "b"},
            b={"inherits_from": "a"},
            c={"inherits_from": "3d_fullers"},
            d={"inherits_from": "d"},
        )
    )
    with pytest.raises(InheritanceError, match="a -> b -> a"):
        plan.resolve("a")
    with pytest.raises(InheritanceError, match="d -> d"):
        plan.resolve("d")
    with pytest.raises(InheritanceError, match="Did you mean 3d_fullres"):
        plan.resolve("c")
    with pytest.raises(InheritanceError, match="There is: 3d_fullres, a, b, c, d"):
        plan.resolve("nothing")


def test_upgrade_keeps_every_resolved_value(shared: Path) -> None:
    upgraded = 0
    for path in plans_files(shared):
        before, after = Plans.load(path), Plans.load(path)
        report = after.upgrade()
        upgraded += bool(report.changed)
        for name in before.configurations:
            try:
                expected = before.resolve(name)
            except ResencPlansError:
                continue
            got = after.resolve(name)
            assert [getattr(got, key) for key in type(got).model_fields] == [
                getattr(expected, key) for key in type(expected).model_fields
            ], (path, name)
    assert upgraded > 15


def test_upgrade_of_an_override_writes_the_whole_architecture() -> None:
    content = document(
        old=OLD_CONFIGURATION, wide={"inherits_from": "old", "UNet_base_num_features": 48}
    )
    plan = Plans.from_dict(content)
    plan.upgrade()
    child = plan.to_dict()["configurations"]["wide"]
    assert child["architecture"]["arch_kwargs"]["features_per_stage"] == [48, 96, 192]
    assert "UNet_base_num_features" not in child
    assert plan.upgrade().changed == ()


def test_upgrade_leaves_what_has_no_current_form_and_says_so() -> None:
    content = document(
        old=OLD_CONFIGURATION, foreign={"inherits_from": "old", "UNet_class_name": "MyNet"}
    )
    plan = Plans.from_dict(content)
    report = plan.upgrade()
    assert any("MyNet" in line for line in report.unchanged)
    assert plan.to_dict() == content


def test_old_residual_encoder_plans_name_a_class_that_exists() -> None:
    content = document(old=OLD_CONFIGURATION | {"UNet_class_name": "ResidualEncoderUNet"})
    architecture = Plans.from_dict(content).resolve("old").architecture
    assert architecture.network_class_name == (CONFIGURATION["architecture"]["network_class_name"])
    assert architecture.arch_kwargs.n_blocks_per_stage == (2, 2, 2)


@pytest.mark.parametrize("name", ["3d_lowres", "3d_cascade_fullres"])
def test_a_configuration_that_the_planner_left_out_has_a_reason(name: str) -> None:
    content = document()
    with pytest.raises(InheritanceError, match="less than 25% of the median image; here it covers"):
        Plans.from_dict(content).resolve(name)
    content["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [900, 900, 900]
    with pytest.raises(InheritanceError, match="2 times fewer voxels than 3d_fullres"):
        Plans.from_dict(content).resolve(name)
