"""When two trained models may be ranked, and what is said where they may not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resenc_plans.errors import FileError, ModelError
from resenc_plans.runs.comparability import RULES, compare_runs
from resenc_plans.runs.run_record import OwnCode, RunRecord
from tests.runs.made_runs import CASES, write_model, write_nnunets_model

OWN = "Mine__P__3d_fullres"
OTHER = "nnUNetTrainer__Q__3d_fullres"
SEEN = replace(CASES, train=("a", "b", "c"))
CODE = OwnCode(import_path="mynet.MyNet", sha256="1")

BREAKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "R001": (OTHER, {"settings": {"epochs": 3}}, "1000 x 250 and 3 x 250"),
    "R002": (OWN, {"configuration": {"batch_size": 4}}, "2 and 4"),
    "R003": (OTHER, {"settings": {"learning_rate": 0.1}}, "learning_rate 0.01 and 0.1"),
    "R004": (
        *(OTHER, {"cases": replace(CASES, val=("c", "e")), "predicted": ("c", "e")}),
        "1 only of the first (d) and 1 only of the second (e)",
    ),
    "R005": (OTHER, {"cases": replace(CASES, train=("a",))}, "1 only of the first (b)"),
    "R006": (OTHER, {"cases": replace(CASES, missing=("x",))}, "1 only of the second (x)"),
    "R007": (OTHER, {"predicted": ("c",)}, "1 only of the second (d)"),
    "R008": (OTHER, {"reference_voxels": 11}, "other numbers of voxels in 2 cases: c, d"),
    "R009": (OTHER, {"mirror_axes": ()}, "all axes and no axis"),
    "R010": (OTHER, {"step_size": 0.25}, "0.5 and 0.25"),
    "R011": (OTHER, {"postprocessing": (1,)}, "() and (1,)"),
    "R012": (OTHER, {"labels": {"background": 0, "liver": 2}}, "liver 1 and 2"),
    "R101": (
        *(OTHER, {"configuration": {"batch_size": 4}}),
        "2 x 250000 iterations and 4 x 250000 iterations",
    ),
    "R102": (OTHER, {"precision": "float16"}, "float32 and float16"),
    "R103": (
        *(OTHER, {"configuration": {"normalization_schemes": ["NoNormalization"]}}),
        "normalization_schemes ['ZScoreNormalization'] and ['NoNormalization']",
    ),
    "R201": (OWN, {"settings": {"learning_rate": 0.1}}, "learning_rate 0.01 and 0.1"),
}


def test_a_held_out_case_that_was_trained_on_is_named(tmp_path: Path) -> None:
    first, second = write_model(tmp_path), write_model(tmp_path, OTHER, cases=SEEN)
    differences = compare_runs(first, second).of_severity("error")
    assert [str(one) for one in differences] == [
        "R005 cases trained on: 1 only of the second (c) (fold 0)",
        "R013 held-out cases trained on: 1 of the second (c) (fold 0)",
    ]


def test_settings_are_told_as_settings_files_have_them(tmp_path: Path) -> None:
    first = write_model(tmp_path, settings={"scale_weights": None})
    second = write_model(tmp_path, OWN, settings={"scale_weights": (4 / 7, 2 / 7, 0.0)})
    [difference] = compare_runs(first, second).differences
    assert "scale_weights null and [0.571429, 0.285714, 0]" in str(difference)


def test_every_rule_has_an_example_that_breaks_it() -> None:
    elsewhere = {"R013"}  # breaks R005 as well
    assert [rule.id for rule in RULES if rule.id not in elsewhere] == list(BREAKS)


@pytest.mark.parametrize("rule", BREAKS)
def test_a_difference_is_found_by_its_rule_alone(tmp_path: Path, rule: str) -> None:
    name, changes, text = BREAKS[rule]
    first, second = write_model(tmp_path), write_model(tmp_path, name, **changes)
    comparison = compare_runs(first, second)
    [difference] = comparison.differences
    assert (difference.rule, difference.folds, difference.is_known) == (rule, ("0",), True)
    assert text in str(difference)
    assert comparison.is_comparable == (difference.severity != "error") == (not rule < "R1")
    assert difference.first != difference.second


def test_methods_plans_and_networks_may_differ(tmp_path: Path) -> None:
    first = write_model(tmp_path)
    second = write_model(
        tmp_path,
        "Mine__Q__2d",
        code={"network": CODE},
        configuration={"patch_size": [32, 32], "spacing": [1.0, 1.0]},
        mirror_axes=(0, 1),
    )
    assert compare_runs(first, second).differences == ()


def test_code_of_one_method_must_be_the_same(tmp_path: Path) -> None:
    models = [
        write_model(tmp_path, f"Mine__P__{number}", code=code)
        for number, code in enumerate(
            [
                {"network": CODE},
                {"network": CODE.model_copy(update={"sha256": "2"})},
                {"network": CODE, "loss": OwnCode(import_path="mynet.Loss", sha256="1")},
            ]
        )
    ]
    [changed] = compare_runs(models[0], models[1]).differences
    assert "the code of mynet.MyNet has changed" in changed.message
    [other] = compare_runs(models[0], models[2]).differences
    assert "network mynet.MyNet and loss mynet.Loss, network mynet.MyNet" in other.message


def test_a_run_that_was_changed_on_the_way_is_not_ranked_with_one_that_was_not(
    tmp_path: Path,
) -> None:
    first, second = write_model(tmp_path), write_model(tmp_path, OTHER)
    record = RunRecord.load(second.run(0).path)
    assert record is not None
    record.after(record, 5, ["gradient_clip 1, now 12"]).save(second.run(0).path)
    [difference] = compare_runs(first, second).differences
    assert difference.rule == "R003"
    assert difference.message.endswith("on the way not and from epoch 5 (gradient_clip 1, now 12)")


def test_what_is_alike_in_several_folds_is_said_once(tmp_path: Path) -> None:
    first = write_model(tmp_path, folds=(0, 1, "all"))
    second = write_model(tmp_path, OTHER, folds=(0, 1, 2), settings={"epochs": 3})
    [difference] = compare_runs(first, second).differences
    assert difference.folds == ("0", "1")
    assert str(difference).endswith("(folds 0, 1)")
    with pytest.raises(ModelError, match="No fold is trained of all"):
        compare_runs(first, write_model(tmp_path, "T__Q__2d", folds=(7,)))


DEBUG = {
    "num_epochs": "1000",
    "num_iterations_per_epoch": "250",
    "initial_lr": "0.01",
    "weight_decay": "3e-05",
    "enable_deep_supervision": "True",
    "inference_allowed_mirroring_axes": "(0, 1, 2)",
    "network": "OptimizedModule(",
}


def test_what_nnunet_did_not_write_is_unknown_and_neither_alike_nor_different(
    tmp_path: Path,
) -> None:
    ours = write_model(tmp_path)
    theirs = write_nnunets_model(tmp_path, OTHER, DEBUG)
    comparison = compare_runs(ours, theirs)
    assert comparison.is_comparable
    assert comparison.differences == comparison.unknown
    assert {one.rule for one in comparison.unknown} == {
        *("R003", "R005", "R006", "R101", "R102"),
        "R009",  # the axes are known, their number is not without plans
    }
    assert all("not known of both" in str(one) for one in comparison.unknown)


def test_what_nnunet_wrote_is_compared(tmp_path: Path) -> None:
    ours = write_model(tmp_path)
    changes = {"num_epochs": "5", "inference_allowed_mirroring_axes": "None"}
    theirs = write_nnunets_model(tmp_path, OTHER, DEBUG | changes)
    comparison = compare_runs(ours, theirs)
    assert [str(one) for one in comparison.of_severity("error")] == [
        "R001 epochs and iterations: 1000 x 250 and 5 x 250 (fold 0)",
        "R009 mirroring in validation: all axes and no axis (fold 0)",
    ]


def test_a_folder_of_which_nothing_is_known_can_be_compared(tmp_path: Path) -> None:
    ours, bare = write_model(tmp_path), write_nnunets_model(tmp_path, OTHER, {})
    (bare.run(0).path / "debug.json").write_text("{")
    (bare.run(0).validation / "summary.json").write_text("{")
    comparison = compare_runs(ours, bare)
    assert comparison.is_comparable
    assert {"R001", "R008", "R009"} < {one.rule for one in comparison.unknown}
    (bare.run(0).path / "run.json").write_text("{}")
    with pytest.raises(FileError, match="not the record of a training"):
        compare_runs(ours, bare)


def test_settings_that_plans_name_are_part_of_what_is_compared(tmp_path: Path) -> None:
    first = write_model(tmp_path)
    second = write_model(
        tmp_path,
        OTHER,
        settings={"learning_rate": 0.1},
        configuration={"training": {"learning_rate": 0.1}},
    )
    [difference] = compare_runs(first, second).differences
    assert (difference.rule, difference.severity) == ("R201", "note")


def test_a_recorded_patch_that_is_none_is_unknown(tmp_path: Path) -> None:
    model = write_model(tmp_path, configuration={"patch_size": 8})
    other = write_model(tmp_path, OTHER, configuration={"patch_size": 8})
    assert "R009" not in {
        one.rule for one in compare_runs(model, other).differences if one.is_known
    }


def test_what_debug_json_and_a_summary_cannot_mean_is_unknown(tmp_path: Path) -> None:
    model = write_nnunets_model(tmp_path, OTHER, {"num_epochs": "(" + "-" * 100_000 + "1)"})
    summary = model.run(0).validation / "summary.json"
    summary.write_text(summary.read_text().replace('"n_ref": 10', '"n_ref": Infinity'))
    assert "R001" not in {
        one.rule for one in compare_runs(model, model).differences if one.is_known
    }
