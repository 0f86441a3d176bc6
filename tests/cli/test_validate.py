import json
from collections.abc import Callable
from pathlib import Path

from resenc_plans import Plans
from tests.cli.conftest import NAME, Done
from tests.loaded_modules import modules_after
from tests.plans.documents import document as plans_document


def test_validate_of_good_plans_is_silent_and_exits_with_0(
    run: Callable[..., Done], here: Path
) -> None:
    done = run("validate")
    assert done.code == 0
    assert "no findings" in done.out


def test_validate_reports_several_files_at_once(run: Callable[..., Done], here: Path) -> None:
    content = plans_document()
    content["configurations"]["3d_fullres"]["patch_size"] = [30, 64, 64]
    Plans.from_dict(content).save(here / "bad.json")
    (here / "worse.json").write_text('{"configurations": {"2d": {"batch_size": "2"}}}')
    done = run("validate", "bad.json", "worse.json", f"{NAME}.json", "--format", "json")
    assert done.code == 1
    found = {(row["file"], row["rule"]) for row in json.loads(done.out)}
    assert {("bad.json", "P002"), ("worse.json", "S001")} <= found


def test_validate_of_an_unreadable_file_exits_with_2(run: Callable[..., Done], here: Path) -> None:
    (here / "broken.json").write_text('{"configurations": ')
    done = run("validate", "broken.json", f"{NAME}.json")
    assert done.code == 2
    assert "truncated" in done.out
    assert run("validate", "nothing.json").code == 2


def test_sarif_names_rule_file_and_line(run: Callable[..., Done], here: Path) -> None:
    content = plans_document(bs={"inherits_from": "3d_fullres", "batchsize": 16})
    Plans.from_dict(content).save(here / f"{NAME}.json")
    log = json.loads(run("validate", "--format", "sarif").out)
    assert log["version"] == "2.1.0"
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("P101", "warning")
    region = result["locations"][0]["physicalLocation"]["region"]
    line = (here / f"{NAME}.json").read_text().splitlines()[region["startLine"] - 1]
    assert "batchsize" in line


def test_one_plans_file_is_chosen_as_in_other_commands(
    run: Callable[..., Done], here: Path
) -> None:
    Plans.from_dict(plans_document() | {"plans_name": "other"}).save(here / "other.json")
    assert run("validate", "-p", "other").out == "other.json: no findings.\n"
    assert run("validate", "other.json", "-p", "other").code == 2


def test_other_files_are_checked_as_what_they_are(run: Callable[..., Done], here: Path) -> None:
    (here / "dataset.json").write_text('{"labels": {"background": 0}, "file_ending": ".nii"}')
    (here / "foreign.json").write_text('{"answer": 42}')
    done = run("validate", f"{NAME}.json", "foreign.json")
    assert done.code == 2, "the dataset.json beside the plans is not usable"
    done = run("validate", "dataset.json", "foreign.json", "--format", "json")
    assert done.code == 1
    rows = {row["file"]: (row["rule"], row["key"]) for row in json.loads(done.out)}
    assert rows == {"dataset.json": ("S001", "channel_names"), "foreign.json": ("S002", "")}
    assert run("validate", "foreign.json").code == 0


def test_arguments_that_a_layer_does_not_take_are_found(
    run: Callable[..., Done], here: Path
) -> None:
    for key, values, fault in (
        ("nonlin_kwargs", {"inplce": True}, "unexpected keyword argument 'inplce'"),
        ("norm_op_kwargs", {"eps": "small"}, "eps"),
    ):
        content = plans_document()
        content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][key] = values
        Plans.from_dict(content).save(here / f"{NAME}.json")
        done = run("validate", "--format", "json")
        assert done.code == 1
        [finding] = json.loads(done.out)
        assert finding["rule"] == "P014"
        assert fault in finding["message"], finding


def test_a_network_that_nobody_knows_is_told_without_torch(here: Path) -> None:
    content = plans_document()
    architecture = content["configurations"]["3d_fullres"]["architecture"]
    for name in ("ResidualEncoderUnet", "mylab.nets.Own"):
        architecture["network_class_name"] = name
        Plans.from_dict(content).save(here / f"{NAME}.json")
        assert "torch" not in modules_after("validate", str(here / f"{NAME}.json"))
